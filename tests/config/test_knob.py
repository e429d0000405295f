"""Knobs from the fields of a dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from steel_megatron.config import KNOBS, ConfigError, load_run_config
from steel_megatron.config.knob import FIXED, LISTED, Follows, knob, knobs_of
from steel_megatron.config.ranges import COUNT

Speed = Literal["slow", "fast"]


@dataclass(frozen=True)
class Demo:
    size: int = knob(3, "A size.", unit="rows", allowed=COUNT, changed=FIXED)
    rate: float | None = knob(None, "A rate.")
    some_names: tuple[str, ...] = knob(("a", "b"), "Names.", adds=True)
    counts: tuple[int, ...] | None = knob(None, "Counts.", allowed=COUNT)
    derived: int = knob(Follows("twice the size", lambda demo: 2 * demo.size), "Derived.", allowed=COUNT)


def test_types_are_taken_apart() -> None:
    found = {knob.name: knob for knob in knobs_of("demo", Demo)}
    assert list(found) == ["size", "rate", "some_names", "counts", "derived"]
    assert [(k.kind, k.is_list, k.optional) for k in found.values()] == [
        (int, False, False),
        (float, False, True),
        (str, True, False),
        (int, True, True),
        (int, False, False),
    ]
    assert found["some_names"].flag == "--some-names"
    assert found["some_names"].default_words == "a b"
    assert found["derived"].default_words == "twice the size"
    assert (found["size"].changed, found["rate"].changed) == (FIXED, LISTED)


def test_a_number_without_a_range_is_a_mistake_in_its_declaration() -> None:
    found = {knob.name: knob for knob in knobs_of("demo", Demo)}
    assert found["size"].range is COUNT
    with pytest.raises(TypeError, match="rate is a number"):
        _ = found["rate"].range


def test_a_type_of_choices_is_a_text_with_these_choices() -> None:
    @dataclass(frozen=True)
    class Choices:
        speed: Speed = knob("slow", "How fast.")
        later: Speed | None = knob(None, "How fast afterwards.")

    speed, later = knobs_of("section", Choices)
    assert (speed.kind, speed.choices, speed.optional) == (str, ("slow", "fast"), False)
    assert (later.kind, later.choices, later.optional) == (str, ("slow", "fast"), True)


def test_a_value_that_is_no_choice_is_refused_with_the_nearest() -> None:
    assert KNOBS["precision"].choices == ("bf16", "fp16", "fp32")
    with pytest.raises(ConfigError, match="'bf61'") as raised:
        load_run_config(overrides={"precision": "bf61"})
    assert "bf16" in str(raised.value)
