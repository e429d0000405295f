"""Tasks are run once, their results come in order, and what a worker meets reaches the caller."""

from __future__ import annotations

import errno
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.jobs.engine import Engine
from steel_megatron.jobs.progress import add_to


@dataclass(frozen=True)
class State:
    base: int
    counter: Any = None


@dataclass(frozen=True)
class Sized:
    number: int
    size: int = 10


def square(state: State, task: Sized) -> int:
    add_to(state.counter, task.size)
    if task.number == 13:
        raise OSError(errno.ENOSPC, "No space left on device")
    return state.base + task.number**2


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_what_is_done_is_not_run_again(workers: int) -> None:
    asked = [Sized(number) for number in range(9)]
    before = {asked[2]: -1, asked[7]: -2}
    found = Engine(workers=workers).run("square", square, State(100), asked, before.get)
    assert found == [100, 101, -1, 109, 116, 125, 136, -2, 164]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_system_refuses_a_worker_reaches_the_caller(workers: int) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        Engine(workers=workers).run("square", square, State(0), [Sized(1), Sized(13)], lambda task: None)
    assert caught.value.errno == errno.ENOSPC


def test_settings_that_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="--workers 0"):
        Engine(workers=0)
    with pytest.raises(ConfigError, match="it is one of local, ray"):
        Engine("slurm")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="Ray is not installed"):
        Engine("ray")
