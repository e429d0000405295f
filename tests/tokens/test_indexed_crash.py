"""What is on the disk after a writer was killed, failed, or was given up."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.forked import in_child, kill_everywhere
from helpers.megatron_files import read_megatron, write_megatron
from steel_megatron.config import DataError
from steel_megatron.tokens.indexed import IndexedDataset, IndexedWriter

OLD = [[[1, 2, 3], [4]], []]
NEW = [[[5]], [[6, 7]], [[8, 9]]]


def write_new(prefix: Path) -> None:
    with IndexedWriter(prefix, "int32") as writer:
        for document in NEW:
            writer.add_document(document)


def documents_if_whole(prefix: Path) -> Any:
    """None when no dataset is there; a damaged one fails the test."""
    if not (os.path.exists(f"{prefix}.idx") and os.path.exists(f"{prefix}.bin")):
        with pytest.raises(DataError, match="no file"):
            IndexedDataset(prefix)
        return None
    IndexedDataset(prefix).validate()
    return read_megatron(prefix)[1]


@pytest.mark.parametrize("old", [None, OLD])
def test_killed_at_any_system_call_it_leaves_a_whole_dataset_or_none(tmp_path: Path, old: Any) -> None:
    prefix = tmp_path / "data"
    seen = []

    def prepare() -> None:
        for path in tmp_path.iterdir():
            path.unlink()
        if old is not None:
            write_megatron(prefix, old, "int32")

    def check() -> None:
        seen.append(documents_if_whole(prefix))

    killed = kill_everywhere(lambda: write_new(prefix), prepare, check)
    assert killed > 20
    assert seen[0] == old
    assert seen[-1] == NEW
    order = {None: 1, str(NEW): 2, str(old): 0}
    places = [order[None if found is None else str(found)] for found in seen]
    assert places == sorted(places), "old, then none, then new"
    assert sorted(os.listdir(tmp_path)) == ["data.bin", "data.idx"]


def test_a_long_run_killed_at_a_random_moment_leaves_no_dataset(tmp_path: Path) -> None:
    code = (
        "import itertools, sys; from steel_megatron.tokens.indexed import IndexedWriter\n"
        "writer = IndexedWriter(sys.argv[1]); print('begun', flush=True)\n"
        "for n in itertools.count(): writer.add_document(range(n % 1000))"
    )
    prefix = tmp_path / "data"
    for _ in range(2):  # the second begins with what the first left
        with subprocess.Popen([sys.executable, "-c", code, str(prefix)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            time.sleep(random.uniform(0, 0.3))
            process.kill()
        names = os.listdir(tmp_path)
        assert names
        assert all(name.endswith(".partial") for name in names)
        with pytest.raises(DataError, match=r"no file .*data\.idx"):
            IndexedDataset(prefix)
    write_new(prefix)
    assert read_megatron(prefix)[1] == NEW
    assert sorted(os.listdir(tmp_path)) == ["data.bin", "data.idx"]


def test_two_processes_do_not_write_one_dataset(tmp_path: Path) -> None:
    code = (
        "import sys; from steel_megatron.tokens.indexed import IndexedWriter\n"
        "with IndexedWriter(sys.argv[1], 'int32') as writer:\n"
        "    writer.add_document([1]); print('begun', flush=True); sys.stdin.readline(); writer.add_document([2])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "data")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        with pytest.raises(DataError, match="is being written by another process"):
            IndexedWriter(tmp_path / "data", "int32")
        process.communicate("\n")
    assert process.returncode == 0
    assert read_megatron(tmp_path / "data")[1] == [[[1]], [[2]]]


@pytest.mark.parametrize("limit", [0, 39, 50, 100, 241, 4095, 5 << 20])
def test_a_disk_that_takes_no_more_is_named_and_nothing_is_left(tmp_path: Path, limit: int) -> None:
    """A limit on the size of files stands for a full disk."""

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(DataError, match=r"cannot (write to|extend|sync) .*partial: File too large"):
            write_much()

    def write_much() -> None:
        with IndexedWriter(tmp_path / "data", "int32") as writer:
            writer.add_many(np.arange(10), [1] * 10)
            if limit >= 4095:
                for _ in range(3):
                    writer.add_many(np.arange(1 << 20), [1 << 20])

    assert in_child(work) == 0
    assert os.listdir(tmp_path) == []


def test_after_a_failed_write_the_writer_takes_nothing_more(tmp_path: Path) -> None:
    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, resource.RLIM_INFINITY))
        writer = IndexedWriter(tmp_path / "data", "int32")
        with pytest.raises(DataError, match="File too large"):
            writer.add_document(np.zeros(2 << 20, np.int32))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for call in (lambda: writer.add_document([1]), lambda: writer.add_many([1], [1]), writer.finish):
            with pytest.raises(DataError, match="an earlier call failed"):
                call()
        writer.abort()

    assert in_child(work) == 0
    assert os.listdir(tmp_path) == []


def write_and_raise(prefix: Path, kind: type[BaseException]) -> None:
    with IndexedWriter(prefix) as writer:
        writer.add_document([5])
        raise kind


@pytest.mark.parametrize("end", ["exception", "abort", "garbage", "interrupt"])
def test_given_up_it_leaves_nothing_and_the_old_dataset_as_it_was(tmp_path: Path, end: str) -> None:
    prefix = tmp_path / "data"
    write_megatron(prefix, OLD, "int32")
    if end in ("exception", "interrupt"):
        kind = ZeroDivisionError if end == "exception" else KeyboardInterrupt
        with pytest.raises(kind):
            write_and_raise(prefix, kind)
    else:
        writer = IndexedWriter(prefix)
        writer.add_document([5])
        if end == "abort":
            writer.abort()
            with pytest.raises(DataError, match="is closed"):
                writer.add_document([6])
        del writer
    assert sorted(os.listdir(tmp_path)) == ["data.bin", "data.idx"]
    assert documents_if_whole(prefix) == OLD


def test_an_interrupted_append_can_only_be_given_up(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(done: int) -> None:
        raise StopError

    prefix = write_megatron(tmp_path / "part", OLD, "int32")
    writer = IndexedWriter(tmp_path / "data", "int32")
    with pytest.raises(StopError):
        writer.append_dataset(prefix, stop)
    with pytest.raises(DataError, match="an earlier call failed"):
        writer.finish()
    writer.abort()
    assert sorted(os.listdir(tmp_path)) == ["part.bin", "part.idx"]
