"""Hashes of files: whole, or stretch by stretch as they become known."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.jobs import hashes
from steel_megatron.jobs.hashes import FileRecord, RunningHashes, hash_file, xxh3_of


def test_a_file_longer_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "HASH_BLOCK", 3)
    path, read = tmp_path / "a", []
    path.write_bytes(b"01234567")
    assert hash_file(path, read.append) == FileRecord(str(path), 8, hashlib.sha256(b"01234567").hexdigest())
    assert read == [3, 3, 2]
    assert xxh3_of(path) == xxhash.xxh3_128(b"01234567").hexdigest()


@given(st.binary(max_size=50), st.lists(st.integers(0, 50), max_size=5))
def test_stretches_are_the_file(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    with TemporaryDirectory() as folder:
        path = Path(folder, "a")
        path.write_bytes(data)
        running = RunningHashes()
        for start, stop in pairwise(places):
            running.feed("one", path, start, stop)
            running.feed("two", path, 0, 0)
        assert running.record("one", "shown") == FileRecord("shown", len(data), hash_file(path).sha256)
        assert running.record("two", "empty") == FileRecord("empty", 0, hashlib.sha256(b"").hexdigest())
        running.close()


def test_a_file_that_cannot_be_read_is_told_when_its_hash_is_asked_for(tmp_path: Path) -> None:
    running = RunningHashes()
    running.feed("gone", tmp_path / "gone", 0, 5)
    with pytest.raises(FileNotFoundError, match="gone"):
        running.record("gone", "gone")
    running.close()
