"""A data file stays the file that was opened: whatever happens to it is told by what it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from steel_megatron.config import DataError
from steel_megatron.tokens.data_file import DataFile, MovedDataError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(bytes(range(256)) * 512)
    return path


def test_a_touch_is_no_change(path: Path) -> None:
    file = DataFile(str(path))
    file.check()
    os.utime(path, (1, 1))
    file.check()
    file.check()


@pytest.mark.parametrize(("size", "says"), [(1000, "was cut off"), (200_000, "has grown")])
def test_another_size(path: Path, size: int, says: str) -> None:
    file = DataFile(str(path))
    os.truncate(path, size)
    with pytest.raises(DataError, match=f"{says} under the run: it had 131,072 bytes and has {size:,}"):
        file.check()


def test_other_content_of_the_same_size(path: Path) -> None:
    file = DataFile(str(path))
    file.check()
    path.write_bytes(bytes(131_072))
    os.utime(path, (1, 1))
    with pytest.raises(DataError, match="was written to under the run"):
        file.check()


def test_moved_or_gone(path: Path) -> None:
    file = DataFile(str(path))
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    path.rename(path.with_name("kept"))
    with pytest.raises(MovedDataError, match="was removed under the run"):
        file.check()
    other.rename(path)
    with pytest.raises(MovedDataError, match="replaced by another file"):
        file.check()
