"""Files cut into parts: every byte in one part, cut behind line ends, and hashed as one file."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import DataError
from steel_megatron.jobs.parts import InputFile, InputHashes, Part, key_of, line_parts, numbered, whole_file


def file_of(path: Path) -> InputFile:
    return InputFile(str(path), path.name, path.stat().st_size, "1")


@given(st.lists(st.text("{}a 中\r", max_size=12).map(str.encode), max_size=20), st.integers(1, 40))
def test_parts_are_the_file_cut_behind_line_ends(lines: list[bytes], part_bytes: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl")
        path.write_bytes(b"\n".join(lines))
        parts = line_parts(whole_file(file_of(path)), part_bytes)
        contents = [b"".join(part.content()) for part in parts]
        assert b"".join(contents) == path.read_bytes()
        assert all(content.endswith(b"\n") for content in contents[:-1])
        assert all(part.size == part.stop - part.start >= part_bytes for part in parts[:-1])
        with InputHashes() as hashes:
            for part in parts:
                hashes.take(part)
            [hashed] = hashes.of([parts[0].file])
        assert hashed.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_cuts_of_an_earlier_version_give_as_many_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"0123456789\nab\nc\n")
    parts = line_parts(whole_file(file_of(path)), 1 << 20, earlier=[0, 4, 8, 14])
    assert [b"".join(part.content()) for part in parts] == [b"0123456789\n", b"", b"ab\n", b"c\n"]


def test_a_packed_file_is_one_part(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"line\n" * 1000))
    [part] = line_parts(whole_file(file_of(path)), 1)
    assert part.packed
    assert b"".join(part.content()) == b"line\n" * 1000


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*gone\.jsonl"):
        whole_file(InputFile(str(tmp_path / "gone.jsonl"), "gone.jsonl", 1, "1"))


def test_hashes_of_files_that_were_not_taken_stay_as_they_are() -> None:
    pipe, url = InputFile("/dev/null", "x", 0, "1"), InputFile("https://host/a.jsonl", "a", 3, "1")
    with InputHashes() as hashes:
        for file in (pipe, url):
            hashes.take(Part(0, file, True, 0, file.bytes, file.bytes))
        assert hashes.of([pipe, url]) == (pipe, url)


def test_numbers_and_keys() -> None:
    file = InputFile("/a", "a", 9, "1")
    parts = numbered([Part(7, file, False, 0, 4, 4), Part(7, file, False, 4, 9, 5)])
    assert [part.number for part in parts] == [0, 1]
    assert str(parts[1]) == "/a from byte 4 on"
    assert str(replace(parts[1], first=1200)) == "/a from record 1,200 on"
    assert key_of([{"a": 1, "b": 2}]) == key_of([{"b": 2, "a": 1}]) != key_of([{"a": 1, "b": 3}])
    assert key_of(["\udcff"]) != key_of(["\udcfe"])
