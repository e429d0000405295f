"""Inputs cut into parts: every line once, whatever the size of the parts and the packing."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.json_lines import write_lines
from steel_megatron.config import DataError
from steel_megatron.jobs.hashes import hash_file
from steel_megatron.jobs.inputs import Input
from steel_megatron.jobs.parts import InputFile, Part
from steel_megatron.jobs.unpack import can_be_cut
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.tokens.tokenise.batch import EncodeJob
from steel_megatron.tokens.tokenise.inputs import Inputs
from steel_megatron.tokens.tokenise.part import PartCounts, PartFiles, PartJob, UnpackedPart, tokenize_part


def content_of(part: Part) -> bytes:
    return b"".join(part.content())


def inputs_of(work: Path, paths: list[Path], part_bytes: int) -> Inputs:
    return Inputs([InputFile.of(Input(str(path), path.name, False)) for path in paths], work, part_bytes)


def parts_of(folder: Path, paths: list[Path], part_bytes: int) -> tuple[list[Part], list[bytes]]:
    """The parts and their content; the records of the inputs are right."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    inputs = inputs_of(work, paths, part_bytes)
    parts, contents = [], []
    for part in inputs.parts(lambda number: False):
        parts.append(part)
        contents.append(content_of(part))
        record = None
        if part.packed and not isinstance(part, UnpackedPart):
            record = hash_file(part.path)
        inputs.take(part, PartCounts([], record=record))
    for path, record in zip(paths, inputs.records(), strict=True):
        assert record == hash_file(path)
        sizes = [part.size for part in parts if part.path == str(path)]
        assert record.bytes == sum(sizes) or not sizes
    inputs.close()
    assert list(work.glob("*.lines")) == []
    return parts, contents


@given(st.binary(max_size=300), st.integers(1, 40), st.sampled_from(["", ".gz", ".zst"]))
@settings(max_examples=150, deadline=None)
def test_the_parts_joined_are_the_file(tmp_path_factory, data, part_bytes, suffix):
    folder = tmp_path_factory.mktemp("x")
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    data = b"." + data if data else b""  # no packing of its own
    (folder / f"a{suffix}").write_bytes(pack(data))
    parts, contents = parts_of(folder, [folder / f"a{suffix}"], part_bytes)
    assert b"".join(contents) == data
    assert all(content.endswith(b"\n") for content in contents[:-1])
    assert [part.number for part in parts] == list(range(len(parts)))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_large_files_are_cut_and_small_packed_ones_are_a_part(tmp_path, suffix):
    path = write_lines(tmp_path / f"a{suffix}", [f"line {i * i} " * 5 for i in range(3000)])
    plain = parts_of(tmp_path, [write_lines(tmp_path / "plain", [f"line {i * i} " * 5 for i in range(3000)])], 2000)
    parts, contents = parts_of(tmp_path, [path], 2000)
    assert b"".join(contents) == b"".join(plain[1])
    assert len(parts) > 50
    assert max(map(len, contents)) < 4200
    if suffix:
        (whole,), _ = parts_of(tmp_path, [path], 1 << 20)
        assert (whole.packed, whole.size) == (True, path.stat().st_size)


def test_packing_is_told_by_content_not_by_name(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(b"x\n"))
    (tmp_path / "b.gz").write_bytes(b"y\n")
    assert parts_of(tmp_path, [tmp_path / "a.jsonl", tmp_path / "b.gz"], 100)[1] == [b"x\n", b"y\n"]


def test_several_packed_pieces_in_one_file(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"1\n2") + gzip.compress(b"3\n4\n"))
    (tmp_path / "a.zst").write_bytes(
        zstandard.compress(b"1\n2") + zstandard.compress(b"") + zstandard.compress(b"3\n4\n")
    )
    for name in ("a.gz", "a.zst"):
        for part_bytes in (4, 1000):
            assert b"".join(parts_of(tmp_path, [tmp_path / name], part_bytes)[1]) == b"1\n23\n4\n"


@pytest.mark.parametrize("part_bytes", [1000, 1 << 20])
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["half", "end", "middle"])
def test_a_damaged_packed_file_is_an_error(tmp_path, suffix, damage, part_bytes):
    path = write_lines(tmp_path / f"a{suffix}", [f"line {i * i}" for i in range(2000)])
    data = path.read_bytes()
    half = len(data) // 2
    damaged = {"half": data[:half], "end": data[:-1], "middle": data[:half] + bytes(40) + data[half + 40 :]}[damage]
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="damaged or cut") as caught:
        parts_of(tmp_path, [path], part_bytes)
    assert str(path) in str(caught.value)


def test_an_empty_file_is_an_empty_part(tmp_path):
    (tmp_path / "a").touch()
    assert parts_of(tmp_path, [tmp_path / "a"], 10)[1] == [b""]


def test_a_file_that_shrinks_is_an_error(tmp_path):
    path = write_lines(tmp_path / "a", ["x"] * 100)
    (tmp_path / "work").mkdir()
    part, *_ = inputs_of(tmp_path / "work", [path], 500).parts(lambda number: False)
    os.truncate(path, 10)
    encode = EncodeJob(NullTokenizer(9), b"", ("text",), None, "uint16", {})
    with pytest.raises(DataError, match="shorter"):
        tokenize_part(PartJob(encode, PartFiles(str(tmp_path), 1)), part)


def test_a_pipe_is_read_once_and_cut(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    content = b"".join(b"line %d\n" % i for i in range(1000))
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[content])
    writer.start()
    (tmp_path / "work").mkdir()
    parts = inputs_of(tmp_path / "work", [tmp_path / "pipe"], 500).parts(lambda number: False)
    assert b"".join(map(content_of, parts)) == content
    writer.join()


def test_what_can_be_cut(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert not can_be_cut(tmp_path / "pipe")
    assert can_be_cut(write_lines(tmp_path / "a.jsonl", ["x"]))
    assert not can_be_cut(write_lines(tmp_path / "a.jsonl.gz", ["x"]))
    assert not can_be_cut(write_lines(tmp_path / "a.jsonl.zst", ["x"]))


def test_a_part_says_where_it_is(tmp_path):
    path = write_lines(tmp_path / "a", [b"a" * 20, b"b" * 20])
    parts, _ = parts_of(tmp_path, [path], 10)
    assert str(parts[1]) == f"{path} from byte 21 on"
