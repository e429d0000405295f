"""A save or load that fails on one rank fails on all, says why, and leaves nothing that looks whole."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from helpers.forked import in_child
from helpers.processes import run_processes
from helpers.small_checkpoints import assert_holds, blocks_at, save_steps
from helpers.small_disk import small_disk  # noqa: F401 - a fixture
from steel_megatron.checkpoint import store as store_module
from steel_megatron.checkpoint.files import record_of
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import CheckpointError
from steel_megatron.parallel.parameter import TensorSlice

BIG = torch.arange(1 << 16, dtype=torch.float32).view(256, 256)


def big_blocks(step: int, rank: int = 0, ranks: int = 1) -> dict[str, TensorSlice]:
    """256 KB in rows over the ranks, besides the small ones."""
    first, end = rank * 256 // ranks, (rank + 1) * 256 // ranks
    return blocks_at(step, rank, ranks) | {"model.big": TensorSlice(BIG[first:end], (256, 256), (first, 0))}


def told(action: Callable[[], object]) -> str:
    try:
        action()
    except CheckpointError as error:
        return str(error)
    return "nothing"


@pytest.mark.parametrize("limit", [0, 100, 5000, 200_000])
def test_a_disk_that_takes_no_more_is_named(tmp_path: Path, limit: int) -> None:
    """A limit on the size of files stands for a full disk."""

    def work() -> None:
        store = save_steps(tmp_path, 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        with pytest.raises(CheckpointError, match=r"step_0000002 failed: .*File too large"):
            store.save(2, big_blocks(2), {"step": 2}, b"random")
        assert os.listdir(tmp_path) == ["step_0000001"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.save(3, big_blocks(3), {"step": 3}, b"random")

    assert in_child(work) == 0
    store = CheckpointStore(tmp_path)
    assert store.steps() == [1, 3]
    assert_holds(store, 1)
    assert_holds(store, 3)


def test_a_full_disk_is_named(small_disk: Path) -> None:  # noqa: F811
    store = CheckpointStore(small_disk)
    store.save(1, big_blocks(1), {"step": 1}, b"random")
    with pytest.raises(CheckpointError, match=r"step_0000002 failed: .*No space left on device"):
        store.save(2, big_blocks(2), {"step": 2}, b"random")
    assert os.listdir(small_disk) == ["step_0000001"]
    assert store.newest() == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"preparing checkpoint .*file"):
        save_steps(tmp_path / "file" / "run", 1)


REASONS = {
    "disk": "writing checkpoint {root}/step_0000002 failed: rank 2: OSError: [Errno 27] File too large",
    "bug": "writing checkpoint {root}/step_0000002 failed: rank 1: ZeroDivisionError",
    "facts": "completing checkpoint {root}/step_0000002 failed: rank 0: TypeError: Object of type object",
    "marker": "completing checkpoint {root}/step_0000002 failed: rank 0: PermissionError",
    "unseen": "__1_0.distcp was written, but rank 0 does not see it",
}


def record_and_remove(path: Path) -> dict[str, Any]:
    record = record_of(path)
    path.unlink()
    return record


def may_not(path: Path, content: Any, **form: Any) -> None:
    raise PermissionError(13, "Permission denied", str(path))


def save_with_failures(root: Path) -> dict[str, str]:
    """Fails in one way after another; what each attempt was told, on this rank."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    store = CheckpointStore(root)
    store.save(1, big_blocks(1, rank, ranks), {"step": 1}, b"random")
    heard = {}
    for failure in REASONS:
        facts: dict[str, Any] = {"step": object() if failure == "facts" else 2}
        limit = 50_000 if failure == "disk" and rank == 2 else resource.RLIM_INFINITY
        with pytest.MonkeyPatch.context() as patch:
            if failure == "bug" and rank == 1:
                patch.setattr(store_module, "record_of", lambda path: 1 / 0)
            if failure == "marker" and rank == 0:
                patch.setattr(store_module, "write_json", may_not)
            if failure == "unseen" and rank == 1:
                patch.setattr(store_module, "record_of", record_and_remove)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            heard[failure] = told(lambda facts=facts: store.save(2, big_blocks(2, rank, ranks), facts, b"random"))
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert os.listdir(root) == ["step_0000001"], failure
        assert store.newest() == 1, failure
    store.save(3, big_blocks(3, rank, ranks), {"step": 3}, b"random")
    return heard


def test_a_save_that_fails_on_one_rank_fails_on_all(tmp_path: Path) -> None:
    for heard in run_processes(save_with_failures, 3, tmp_path):
        for failure, reason in REASONS.items():
            assert reason.format(root=tmp_path) in heard[failure]
    assert CheckpointStore(tmp_path).steps() == [1, 3]
    assert_holds(CheckpointStore(tmp_path), 1)
    assert_holds(CheckpointStore(tmp_path), 3)


def load_with_failures(root: Path) -> list[str]:
    rank = dist.get_rank()
    store = CheckpointStore(root)
    into = blocks_at(0, rank, 2)
    extra = {"model.more": TensorSlice(torch.zeros(2), (2,), (0,))} if rank == 1 else {}
    heard = [told(lambda: store.load(1, into | extra)), told(lambda: store.load(7, into))]
    dist.barrier()
    if rank == 0:
        (store.folder(1) / "__0_0.distcp").unlink()
    dist.barrier()
    return [*heard, told(lambda: store.load(1, into))]


def test_a_load_that_fails_on_one_rank_fails_on_all(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    for heard in run_processes(load_with_failures, 2, tmp_path):
        assert "model.more is missing" in heard[0]
        assert "step_0000007" in heard[1]
        assert "__0_0.distcp" in heard[2]
