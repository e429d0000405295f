"""Values as files and flags give them → the knob's type."""

from __future__ import annotations

from typing import Any

import pytest

from steel_megatron.config.errors import ConfigError
from steel_megatron.config.run import KNOBS
from steel_megatron.config.values import convert


@pytest.mark.parametrize(
    ("name", "value", "converted"),
    [
        ("lr", "3e-4", 3e-4),
        ("train_iters", 100.0, 100),
        ("train_iters", None, None),
        ("profile_ranks", "0 3", (0, 3)),
        ("profile_ranks", 2, (2,)),
        ("tensorboard", False, False),
        ("packing", "best-fit", "best-fit"),
    ],
)
def test_a_value_gets_the_type_of_its_knob(name: str, value: Any, converted: Any) -> None:
    assert convert(KNOBS[name], value, "run.yaml: it") == converted


@pytest.mark.parametrize(
    ("name", "value", "rule", "fix"),
    [
        ("lr", None, "lr takes a number", ""),
        ("train_iters", 1.5, "train_iters takes a whole number of steps", "give a value"),
        ("tensorboard", "yes", "takes true or false", "default, true"),
        ("packing", "bestfit", "none, best-fit", "did you mean best-fit?"),
        ("split", ["949"], "split takes a text", ""),
        ("profile_ranks", [0, -1], "0 or more", ""),
    ],
)
def test_another_is_refused_with_what_is_wanted(name: str, value: Any, rule: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        convert(KNOBS[name], value, "run.yaml: it")
    assert caught.value.given.startswith("run.yaml: it")
    assert rule in caught.value.rule
    assert fix in caught.value.fix
