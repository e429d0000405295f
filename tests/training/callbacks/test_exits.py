"""Ways to leave early."""

from __future__ import annotations

import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest

from steel_megatron.config import TrainingConfig
from steel_megatron.training.callbacks import exits
from steel_megatron.training.callbacks.exits import Exits, Interrupts


def trainer(step: int = 0) -> Any:
    return SimpleNamespace(state=SimpleNamespace(step=step), stop_request="", stop_reason="")


@pytest.mark.parametrize(("step", "reason"), [(4, ""), (5, "reached --exit-interval 5"), (10, "reached")])
def test_the_interval_ends_the_run(step: int, reason: str) -> None:
    run = trainer(step)
    Exits(TrainingConfig(exit_interval=5), time.monotonic()).on_step_end(run)
    assert run.stop_reason.startswith(reason)
    assert bool(run.stop_reason) == bool(reason)


def test_time_is_counted_from_the_start_of_the_process_and_the_first_wish_stands() -> None:
    late = Exits(TrainingConfig(exit_duration_in_mins=2), time.monotonic() - 121)
    run = trainer()
    late.on_validation_batch(run)
    assert run.stop_request == "ran for 2 minutes"
    late.ask(run, "got SIGTERM")
    assert run.stop_request == "ran for 2 minutes"
    early = trainer()
    Exits(TrainingConfig(exit_duration_in_mins=2), time.monotonic()).on_step_end(early)
    assert early.stop_request == ""


def test_a_second_interrupt_is_one_that_comes_later(monkeypatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    now = [100.0]
    monkeypatch.setattr(exits.time, "monotonic", lambda: now[0])
    interrupts = Interrupts()
    assert not interrupts.second("handler", signal.SIGINT)
    assert not interrupts.second("handler", signal.SIGINT)  # sent twice at once
    now[0] += 1
    assert not interrupts.second("handler", signal.SIGTERM)
    assert not interrupts.second("listener", signal.SIGINT)  # counts for itself
    assert interrupts.second("handler", signal.SIGINT)
