"""Packed files: the same bytes for the same content, and several one behind the other are one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from steel_megatron.jobs import packed
from steel_megatron.jobs.frames import frame_starts
from steel_megatron.jobs.packed import open_packed
from steel_megatron.jobs.unpack import read_content


@pytest.mark.parametrize("packing", ["gz", "zst", ""])
def test_two_behind_each_other_are_one(tmp_path: Path, packing: str) -> None:
    paths = [tmp_path / f"{name}.{packing or 'txt'}" for name in ("a", "b")]
    for path, content in zip(paths, (b"first\n" * 1000, b"second\n"), strict=True):
        with open_packed(path, packing) as file:
            file.write(content)
    joined = tmp_path / f"joined.{packing or 'txt'}"
    joined.write_bytes(b"".join(path.read_bytes() for path in paths))
    assert b"".join(read_content(str(joined))) == b"first\n" * 1000 + b"second\n"
    assert (joined.stat().st_size < 1000) is bool(packing)


@pytest.mark.parametrize("packing", ["gz", "zst"])
def test_neither_name_nor_time_is_in_the_bytes(tmp_path: Path, packing: str) -> None:
    paths = [tmp_path / f"{name}.{packing}" for name in ("one", "another")]
    for at, path in enumerate(paths):
        with open_packed(path, packing) as file:
            file.write(b"content")
        os.utime(path, (at, at))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_long_zstd_file_is_frames_that_end_with_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "FRAME_BYTES", 1000)
    path = tmp_path / "a.zst"
    lines = [f"{number} ".encode() * 100 + b"\n" for number in range(40)]
    with open_packed(path, "zst") as file:
        for line in lines:
            file.write(line)
    starts = frame_starts(path)
    assert len(starts) > 5
    contents = [
        b"".join(read_content(path, start, stop, frames=True))
        for start, stop in zip(starts, [*starts[1:], None], strict=True)
    ]
    assert b"".join(contents) == b"".join(lines)
    assert all(content.endswith(b"\n") and 1000 <= len(content) < 1400 for content in contents[:-1])
