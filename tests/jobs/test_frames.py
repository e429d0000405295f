"""zstd files of many frames: cut without being unpacked, every line in one part wherever the frames end."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import DataError
from steel_megatron.jobs.frames import frame_starts
from steel_megatron.jobs.parts import InputFile, InputHashes, line_parts, whole_file

SKIPPABLE = struct.pack("<II", 0x184D2A53, 5) + b"12345"
PACKERS = (
    zstandard.ZstdCompressor(),
    zstandard.ZstdCompressor(write_checksum=True),
    zstandard.ZstdCompressor(write_content_size=False),
)


def packed(content: bytes, number: int) -> bytes:
    """A frame, of one of several kinds, some with a skippable frame before them."""
    return (SKIPPABLE if number % 2 else b"") + PACKERS[number % len(PACKERS)].compress(content)


def file_of(path: Path) -> InputFile:
    return InputFile(str(path), path.name, path.stat().st_size, "1")


@given(st.lists(st.text("{a中\n", max_size=9).map(str.encode), min_size=1, max_size=12), st.integers(1, 200))
def test_parts_hold_every_line_once(contents: list[bytes], part_bytes: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.zst")
        path.write_bytes(b"".join(map(packed, contents, range(len(contents)))))
        parts = line_parts(whole_file(file_of(path)), part_bytes)
        found = [b"".join(part.content()) for part in parts]
        assert b"".join(found) == b"".join(contents)
        assert all(content.endswith(b"\n") for content in list(filter(None, found))[:-1])
        assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
        assert line_parts(whole_file(file_of(path)), part_bytes, [part.start for part in parts]) == parts
        with InputHashes() as hashes:
            for part in parts:
                hashes.take(part)
            [hashed] = hashes.of([parts[0].file])
        assert hashed.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 200_000, 3_000_000])
@pytest.mark.parametrize("compressible", [True, False])
def test_frames_are_found_whatever_blocks_they_have(tmp_path: Path, size: int, compressible: bool) -> None:
    content = bytes(size) if compressible else hashlib.shake_128(b"seed").digest(size)
    frames = [packed(content, number) for number in range(6)]
    path = tmp_path / "a.zst"
    path.write_bytes(b"".join(frames) + SKIPPABLE)
    assert frame_starts(path) == [sum(map(len, frames[:number])) for number in range(6)]


def test_a_file_of_one_frame_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(zstandard.compress(b"line\n" * 100_000))
    whole = whole_file(file_of(path))
    assert line_parts(whole, 4) == [whole]
    assert frame_starts(path) == [0]


@pytest.mark.parametrize("kept", [-1, -9])
def test_a_damaged_end_is_read_with_the_last_whole_frame_and_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(b"".join(packed(b"line\n" * 50, 0) for _ in range(4))[:kept])
    parts = line_parts(whole_file(file_of(path)), 4)
    assert len(parts) == 3
    with pytest.raises(DataError, match="damaged or cut"):
        list(parts[-1].content())


def test_zeros_behind_the_last_frame_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(packed(b"one\n", 0) + packed(b"two\n", 0) + bytes(600))
    parts = line_parts(whole_file(file_of(path)), 4)
    assert b"".join(b"".join(part.content()) for part in parts) == b"one\ntwo\n"
