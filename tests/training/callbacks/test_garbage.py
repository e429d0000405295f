"""Garbage collection at fixed steps."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from steel_megatron.training.callbacks.garbage import GarbageCollection


class Ring:
    def __init__(self) -> None:
        self.self = self


@pytest.mark.parametrize(("interval", "collected_at"), [(3, 3), (1, 1), (0, None)])
def test_rings_are_collected_at_the_interval_alone(interval: int, collected_at: int | None) -> None:
    callback = GarbageCollection(interval)
    trainer: Any = SimpleNamespace(state=SimpleNamespace(step=0))
    callback.on_start(trainer)
    try:
        assert not gc.isenabled()
        ring = weakref.ref(Ring())
        gone = None
        for step in range(1, 5):
            trainer.state.step = step
            callback.on_step_end(trainer)
            gone = step if gone is None and ring() is None else gone
        assert gone == collected_at
    finally:
        callback.close()
        gc.unfreeze()
    assert gc.isenabled()
