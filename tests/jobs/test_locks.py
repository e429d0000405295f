"""One run at a time writes an output: the second is told who does, and a lock ends with its block."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from steel_megatron.config import DataError
from steel_megatron.jobs.locks import locked


def test_the_second_is_told_who_writes(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "folder" / "lock"
    with locked(lock, "out.jsonl"), pytest.raises(DataError) as error, locked(lock, "out.jsonl"):
        pass
    assert f"another run (process {os.getpid()}) writes out.jsonl" in str(error.value)
    with locked(lock, "out.jsonl"):
        assert lock.read_text() == str(os.getpid())  # and nothing of the one before


@pytest.mark.parametrize("remove", [True, False])
def test_a_lock_ends_with_its_block_also_by_an_error(tmp_path: Path, remove: bool) -> None:
    lock = tmp_path / "lock"
    with pytest.raises(KeyError), locked(lock, "x", remove=remove):
        raise KeyError
    assert lock.exists() is not remove
    with locked(lock, "x"):
        pass


def test_a_lock_that_was_taken_away_is_made_again(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock, "x"):
        lock.unlink()
        with locked(lock, "y"):
            assert lock.exists()
