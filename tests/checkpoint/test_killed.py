"""SIGKILL during a save: what was whole before is whole after, and nothing half-written counts."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from helpers.endless_saves import saved_before_death
from helpers.forked import kill_everywhere
from helpers.small_checkpoints import assert_holds, save_steps
from steel_megatron.checkpoint.store import CheckpointStore


def killed_again_and_again(root: Path, times: int) -> None:
    last = 0
    for _ in range(times):
        acknowledged = saved_before_death(root, ranks=2, wait_for=1, seconds=random.uniform(0, 0.1))
        store = CheckpointStore(root)
        newest = store.newest()
        assert newest is not None
        assert newest >= acknowledged > last
        assert newest <= acknowledged + 1
        for step in store.steps():
            assert_holds(store, step)
        last = newest


def test_killed_at_random_moments_the_checkpoints_stay_usable(tmp_path: Path) -> None:
    killed_again_and_again(tmp_path, 3)


@pytest.mark.slow
def test_killed_at_many_random_moments_the_checkpoints_stay_usable(tmp_path: Path) -> None:
    killed_again_and_again(tmp_path, 20)


def killed_at_system_calls(root: Path, step: int, save_again: bool) -> None:
    """A save of step 2 after step 1, killed before and after system calls.

    Args:
        step: between two places of death, see kill_everywhere.
        save_again: a checkpoint of step 2 is there already, and replaced.
    """
    store = save_steps(root, 1)
    seen = []

    def prepare() -> None:
        if save_again:
            save_steps(root, 2)
        elif 2 in store.steps():
            shutil.rmtree(store.folder(2))

    def check() -> None:
        newest = store.newest()
        seen.append(newest)
        for step in store.steps():
            assert_holds(store, step)

    kills = kill_everywhere(lambda: save_steps(root, 2), prepare, check, step)
    assert kills > 100
    assert set(seen) == {1, 2}
    if not save_again:
        assert seen == sorted(seen)
    save_steps(root, 3)
    assert sorted(os.listdir(root)) == ["step_0000001", "step_0000002", "step_0000003"]


def test_killed_at_system_calls_a_save_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    killed_at_system_calls(tmp_path, 23, save_again=False)


@pytest.mark.slow
@pytest.mark.parametrize("save_again", [False, True])
def test_killed_at_every_system_call_a_save_leaves_the_old_or_the_new(tmp_path: Path, save_again: bool) -> None:
    killed_at_system_calls(tmp_path, 1, save_again)
