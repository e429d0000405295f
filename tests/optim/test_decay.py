"""Shapes of the learning rate, at points whose values are known."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from steel_megatron.optim.decay import Moment, constant, cosine, inverse_square_root, linear, wsd


def moment(t: float, x: float = 0.0, **schedule: Any) -> Moment:
    run: Any = SimpleNamespace(**schedule)
    return Moment(t=t, x=x, step=1, samples=1, tokens=1, lr=1.0, min_lr=0.2, schedule=run)


@pytest.mark.parametrize(
    ("shape", "start", "half", "end"),
    [(constant, 1.0, 1.0, 1.0), (linear, 1.0, 0.6, 0.2), (cosine, 1.0, 0.6, 0.2)],
)
def test_shapes_of_the_way(shape, start: float, half: float, end: float) -> None:
    assert [shape(moment(t)) for t in (0.0, 0.5, 1.0)] == pytest.approx([start, half, end])


def test_a_cosine_falls_slowly_first() -> None:
    assert cosine(moment(0.25)) == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)
    assert linear(moment(0.25)) < cosine(moment(0.25))


def test_inverse_square_root_starts_at_the_warm_ups_end_and_stops_at_the_least() -> None:
    at = [inverse_square_root(moment(0, x, decay_start=100.0, first_step=1.0)) for x in (100, 400, 10_000)]
    assert at == pytest.approx([1.0, 0.5, 0.2])
    assert inverse_square_root(moment(0, 1.0, decay_start=0.0, first_step=1.0)) == 1.0


@pytest.mark.parametrize(("style", "half"), [("linear", 0.6), ("cosine", 0.6), ("1-sqrt", 1 - 0.8 * math.sqrt(0.5))])
def test_wsd_is_stable_until_its_last_stretch(style: str, half: float) -> None:
    config = SimpleNamespace(lr_wsd_decay_style=style)
    run = {"wsd_start": 80.0, "decay": SimpleNamespace(value=100.0), "config": config}
    assert [wsd(moment(0, x, **run)) for x in (1, 80, 90, 100)] == pytest.approx([1.0, 1.0, half, 0.2])
