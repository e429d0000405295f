"""The training section's own rules."""

from __future__ import annotations

from typing import Any

import pytest

from steel_megatron.config import ConfigError, TrainingConfig


@pytest.mark.parametrize(
    ("knobs", "given"),
    [
        ({"train_iters": None}, "no length of the run"),
        ({"train_samples": 100}, "--train-iters and --train-samples together"),
        ({"recompute_modules": ("head",)}, "--recompute-modules head"),
        ({"rampup_batch_size": (16, 16)}, "--rampup-batch-size [16, 16]"),
        ({"rampup_batch_size": (16, 16, 100)}, "--rampup-batch-size with --train-iters"),
        ({"min_loss_scale": 8.0, "initial_loss_scale": 4.0}, "--min-loss-scale 8.0 above"),
    ],
)
def test_what_contradicts_itself_is_refused(knobs: dict[str, Any], given: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainingConfig(**{"train_iters": 10, **knobs}).check()
    assert given in caught.value.given
    assert caught.value.rule
    assert caught.value.fix


def test_a_ramp_in_samples_is_taken() -> None:
    TrainingConfig(train_iters=None, train_samples=1000, rampup_batch_size=(16, 16, 100)).check()
