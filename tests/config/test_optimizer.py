"""The optimizer section's own rules."""

from __future__ import annotations

from typing import Any

import pytest

from steel_megatron.config import ConfigError, OptimizerConfig


@pytest.mark.parametrize(
    ("knobs", "given"),
    [
        ({"lr_warmup_iters": 5, "lr_warmup_fraction": 0.1}, "--lr-warmup-iters and --lr-warmup-fraction"),
        ({"lr_decay_iters": 5, "lr_decay_tokens": 5}, "--lr-decay-iters and --lr-decay-tokens"),
        ({"lr": 1e-5, "min_lr": 1e-4}, "--min-lr 0.0001 above --lr 1e-05"),
        ({"lr_warmup_init": 1.0}, "--lr-warmup-init 1.0 above"),
        ({"adam_beta2": 1.0}, "--adam-beta2 1.0"),
    ],
)
def test_what_contradicts_itself_is_refused(knobs: dict[str, Any], given: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OptimizerConfig(**knobs).check()
    assert given in caught.value.given
    assert caught.value.rule
    assert caught.value.fix


def test_the_ends_of_the_rules_are_taken() -> None:
    OptimizerConfig(lr=1e-4, min_lr=1e-4, lr_warmup_init=1e-4).check()
    OptimizerConfig(lr_warmup_iters=0, lr_warmup_fraction=0.1, lr_decay_tokens=5).check()
