"""The watch of one process beside another that dies, or that tells a failure of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch.distributed as dist

from steel_megatron.parallel.processes import watch as module
from steel_megatron.parallel.processes.watch import FAILURE, Watch, said_in_full_here


@pytest.fixture
def store():
    return dist.HashStore()


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def still(monkeypatch):
    """No thread: a test calls what the thread calls."""
    monkeypatch.setattr(Watch, "_run", lambda self: None)


def told(name: str, process: int) -> str:
    return f"{name} {process}"


def test_a_neighbour_that_died_without_a_word_is_the_failure(still, store, child):
    watch = Watch(0, range(2), store, under_torchrun=False)
    store.set("process/1", told(module._machine(), child.pid))
    assert watch._failure() is None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie: its parent has not asked yet
    found = f"rank 1 on {socket.gethostname()} has died (process {child.pid})"
    assert watch.tell("rank 0: an echo of that") == found
    assert not watch.first
    assert store.get(FAILURE).decode() == found


def test_a_process_of_another_machine_is_not_looked_for(still, store, child):
    watch = Watch(0, range(2), store, under_torchrun=False)
    child.kill()
    child.wait()
    store.set("process/1", told("elsewhere/boot/pid:[1]", child.pid))
    assert watch._failure() is None
    assert watch.tell("rank 0 on here: error: x") == "rank 0 on here: error: x"
    assert watch.first


def test_the_first_to_tell_is_heard(still, store):
    first, second = (Watch(rank, range(0), store, under_torchrun=True) for rank in (0, 1))
    assert second.tell("rank 1: a") == "rank 1: a"
    assert first.tell("rank 0: b") == "rank 1: a"
    assert (first.first, second.first) == (False, True)


@pytest.mark.parametrize(("rank", "under_torchrun", "holds"), [(0, False, True), (0, True, False), (1, False, False)])
def test_who_holds_the_store(still, store, rank, under_torchrun, holds):
    assert Watch(rank, range(0), store, under_torchrun).holds_store == holds
    assert not Watch(rank, range(0), None, under_torchrun).holds_store


def test_torchrun_that_is_gone_is_told_once(still, store, monkeypatch):
    watch = Watch(0, range(0), store, under_torchrun=True)
    calls = []
    watch.on_orphaned = lambda: calls.append("gone")
    watch._look_for_parent()
    assert calls == []
    monkeypatch.setattr(os, "getppid", lambda: 1_000_000_000)
    watch._look_for_parent()
    watch._look_for_parent()
    assert calls == ["gone"]


@pytest.mark.parametrize(
    ("failure", "said"),
    [("rank 3 on {}: error: x", True), ("rank 3 on {}: ValueError: x", False), ("rank 3 on other: stall: x", False)],
)
def test_a_users_error_of_this_machine_stands_on_its_terminal(failure, said):
    assert said_in_full_here(failure.format(socket.gethostname())) == said
