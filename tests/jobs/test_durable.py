"""Files take their names when they are whole, several of one output together."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from steel_megatron.config.os_errors import explained
from steel_megatron.jobs.durable import Outputs, join, whole, write_json, write_text
from steel_megatron.jobs.hashes import FileRecord
from steel_megatron.jobs.packed import open_packed
from steel_megatron.jobs.unpack import read_content


def _fail_in(path: Path) -> None:
    with whole(path) as file:
        file.write(b"half")
        raise OSError("full")


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text(path, "one 甲 \udc80")
    with pytest.raises(OSError, match="full"):
        _fail_in(path)
    assert path.read_bytes() == "one 甲 \\udc80".encode()
    write_json(path, {"a": 1}, indent=None)
    assert path.read_bytes() == b'{"a": 1}\n'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("packing", ["", "gz", "zst"])
def test_packed_pieces_joined_are_what_was_written(tmp_path: Path, packing: str) -> None:
    pieces = [tmp_path / str(number) for number in range(3)]
    for number, piece in enumerate(pieces):
        with open_packed(piece, packing) as file:
            file.write(b"%d\n" % number)
    seen: list[int] = []
    with whole(tmp_path / "joined") as file:
        made = join(pieces, file, "joined", seen.append)
    content = (tmp_path / "joined").read_bytes()
    assert made == FileRecord("joined", len(content), hashlib.sha256(content).hexdigest())
    assert sum(seen) == len(content)
    assert b"".join(read_content(tmp_path / "joined")) == b"0\n1\n2\n"


def test_the_files_of_an_output_take_their_names_together(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    for name in ("out.jsonl", "out.jsonl.rejects", "out.jsonl.manifest"):
        (tmp_path / name).write_text("old")
    outputs = Outputs(target, ("", ".rejects", ".manifest"))
    outputs.write_text("", "new")
    outputs.write_text(".manifest", "new")
    assert {path.read_text() for path in tmp_path.glob("*[!l]") if not path.name.endswith(".partial")} == {"old"}
    outputs.publish()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "out.jsonl": "new\n",
        "out.jsonl.manifest": "new\n",
    }  # what was not written again is of an earlier run


@pytest.mark.parametrize("fault", ["a folder stands there", "the name is too long", "a file in place of the folder"])
def test_an_error_names_the_file_and_not_what_it_is_called_until_it_is_whole(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "a"
    if fault == "a folder stands there":
        path.mkdir()
    elif fault == "the name is too long":
        path = tmp_path / ("a" * 255)
    else:
        path.write_text("")
        path /= "b"
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError) as caught:  # noqa: PT011  # which one is the system's affair
        write_text(path, "a")
    assert explained(caught.value, [("--output", str(path))]).given.startswith(f"--output {path}: ")
    assert explained(caught.value).given.startswith(f"{path}: ")
    assert sorted(tmp_path.iterdir()) == before  # nothing half is left
