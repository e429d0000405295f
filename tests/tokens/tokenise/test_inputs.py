"""Finding input files, and reading them as blocks of lines."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from helpers.json_lines import write_lines
from steel_megatron.config import DataError
from steel_megatron.tokens.tokenise.inputs import InputFile


def lines_of(path, block_bytes=100):
    """All lines with their numbers, as the blocks tell them."""
    found = []
    for block in InputFile(path, block_bytes).blocks():
        lines = block.data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        found += list(enumerate(lines, start=block.first_line))
    return found


@given(st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"")), max_size=60), st.booleans())
def test_blocks_hold_every_line_once(tmp_path_factory, lines, ended):
    path = tmp_path_factory.mktemp("x") / "x.jsonl"
    content = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    path.write_bytes(content.removeprefix(b"\x1f\x8b").removeprefix(b"\xef\xbb\xbf").removeprefix(b"\x28\xb5\x2f\xfd"))
    content = path.read_bytes()
    expected = content.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert lines_of(path) == list(enumerate(expected, start=1))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_packed_files_are_read_and_hashed_as_they_lie(tmp_path, suffix):
    path = write_lines(tmp_path / f"a.jsonl{suffix}", [f"line {i} " * 50 for i in range(3000)])
    file = InputFile(path, 10_000)
    blocks = list(file.blocks())
    assert b"".join(block.data for block in blocks).count(b"\n") == 3000
    assert sum(block.bytes_read for block in blocks) == path.stat().st_size
    assert all(block.data.endswith(b"\n") for block in blocks)
    assert file.record.bytes == path.stat().st_size
    assert file.record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_packing_is_told_by_content_not_by_name(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(b"x\n"))
    (tmp_path / "b.gz").write_bytes(b"y\n")
    assert lines_of(tmp_path / "a.jsonl") == [(1, b"x")]
    assert lines_of(tmp_path / "b.gz") == [(1, b"y")]


def test_several_packed_parts_in_one_file(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"1\n2") + gzip.compress(b"3\n4\n"))
    (tmp_path / "a.zst").write_bytes(
        zstandard.compress(b"1\n2") + zstandard.compress(b"") + zstandard.compress(b"3\n4\n")
    )
    for name in ("a.gz", "a.zst"):
        assert lines_of(tmp_path / name) == [(1, b"1"), (2, b"23"), (3, b"4")]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("keep", [0.5, -1])
def test_a_cut_packed_file_is_an_error(tmp_path, suffix, keep):
    path = write_lines(tmp_path / f"a{suffix}", [f"line {i * i}" for i in range(2000)])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)] if keep > 0 else data[:-1])
    with pytest.raises(DataError, match="damaged or cut") as caught:
        lines_of(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_damaged_packed_file_is_an_error(tmp_path, suffix):
    path = write_lines(tmp_path / f"a{suffix}", [f"line {i * i}" for i in range(2000)])
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged or cut"):
        lines_of(path)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf{}\n\xef\xbb\xbf{}\n")
    assert lines_of(tmp_path / "a") == [(1, b"{}"), (2, b"\xef\xbb\xbf{}")]


def test_an_empty_file_has_no_block(tmp_path):
    (tmp_path / "a").touch()
    assert list(InputFile(tmp_path / "a").blocks()) == []


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * 99 + b"\n")
    path.write_bytes(path.read_bytes() * 400_000)  # 40 MB
    tracemalloc.start()
    for _ in InputFile(path).blocks():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


def test_a_line_longer_than_a_block_is_one_block(tmp_path):
    path = write_lines(tmp_path / "a", [b"a", b"b" * 3_000_000, b"c"])
    assert [(number, len(line)) for number, line in lines_of(path, 1000)] == [(1, 1), (2, 3_000_000), (3, 1)]


def test_a_block_says_where_it_is(tmp_path):
    path = write_lines(tmp_path / "a", [b"a", b"b"])
    (block,) = InputFile(path).blocks()
    assert str(block) == f"{path}, lines 1 to 2"
