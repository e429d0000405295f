"""The dynamic loss scale."""

from __future__ import annotations

from typing import Any

import pytest

from steel_megatron.config import SteelError, TrainingConfig
from steel_megatron.optim.loss_scaler import LossScaler


def scaler(**knobs: Any) -> LossScaler:
    return LossScaler(
        TrainingConfig(
            **{"precision": "fp16", "initial_loss_scale": 64.0, "loss_scale_window": 3, "hysteresis": 2, **knobs}
        )
    )


def run(scale: LossScaler, overflows: str) -> list[float]:
    """The scale after each step; "x" overflows."""
    found = []
    for step in overflows:
        scale.update(overflow=step == "x")
        found.append(scale.scale)
    return found


def test_the_second_overflow_halves_and_a_window_of_good_steps_doubles():
    assert run(scaler(), "x.x") == [64, 64, 32]
    assert run(scaler(), "xxx") == [64, 32, 16]
    assert run(scaler(), "......") == [64, 64, 128, 128, 128, 256]
    # The window must be whole, and only it fills the hysteresis again.
    assert run(scaler(), "..x..x...x") == [64, 64, 64, 64, 64, 32, 32, 32, 64, 64]


def test_the_scale_has_a_floor():
    assert run(scaler(min_loss_scale=32.0), "xxxx") == [64, 32, 32, 32]


def test_overflow_without_end_stops_the_run():
    with pytest.raises(SteelError, match="steps in a row overflowed fp16 at loss scale 1"):
        run(scaler(), "x" * 1000)


def test_fixed_and_absent_scales_do_not_move():
    assert run(scaler(loss_scale=8.0), "x.....") == [8.0] * 6
    assert run(scaler(precision="bf16", loss_scale=8.0), "...") == [1.0] * 3


def test_state_comes_back():
    first, second = scaler(), scaler()
    run(first, "x...x.")
    second.load_scalars(first.scalars())
    assert run(first, "x..x...") == run(second, "x..x...")
