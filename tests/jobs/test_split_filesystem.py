"""Parts as one file: its bytes, and a state that changes with any of them."""

from __future__ import annotations

from pathlib import Path

from steel_megatron.jobs.files import filesystem, open_file, state_of
from steel_megatron.jobs.inputs import find_inputs


def test_its_bytes_are_those_of_the_parts_and_its_state_is_of_all(tmp_path: Path) -> None:
    for number, data in enumerate((b"one\ntw", b"", b"o\nthree\n"), start=1):
        (tmp_path / f"a.jsonl.part{number}").write_bytes(data)
    (file,) = find_inputs([tmp_path]).files
    assert (file.name, file.location) == ("a.jsonl", f"parts://{tmp_path}/a.jsonl")
    before = state_of(file.location)
    assert before[0] == 14
    with open_file(file.location) as stream:
        assert stream.read() == b"one\ntwo\nthree\n"
        assert not stream.seekable()
    (tmp_path / "a.jsonl.part3").write_bytes(b"o\nthrEE\n")
    assert state_of(file.location) != before


def test_a_file_without_parts_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    files, path = filesystem(f"parts://{tmp_path}/a.jsonl")
    assert not files.isfile(path)
    assert not files.exists(path)
