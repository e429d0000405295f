"""Files that were cut into parts are read as one, in the order of their numbers, and never with a hole."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from helpers.corpus_files import read_json_lines
from steel_megatron.config import DataError
from steel_megatron.corpus import convert_corpus
from steel_megatron.jobs.inputs import find_inputs
from steel_megatron.jobs.split_files import joined, parts_of

LINES = [f'{{"text": "第{i}条百科。", "id": "{i}"}}' for i in range(2000)]
PACKED = gzip.compress("\n".join(LINES).encode(), mtime=0)


def cut(folder: Path, suffixes: list[str], name: str = "zh_baike.jsonl.gz") -> Path:
    """The packed file in as many parts, each beginning in the midst of it."""
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-len(PACKED) // len(suffixes))
    for number, suffix in enumerate(suffixes):
        (folder / f"{name}.{suffix}").write_bytes(PACKED[number * size : (number + 1) * size])
    return folder


@pytest.mark.parametrize(
    "suffixes",
    [
        ["partaa", "partab", "partac"],
        ["part00", "part01", "part02"],
        [f"part{i}" for i in range(1, 13)],  # part10 does not come behind part1
        ["part-01", "part-02"],
        ["parta", "partb"],
    ],
)
def test_the_parts_of_a_file_are_one_file(suffixes: list[str], tmp_path: Path) -> None:
    folder = cut(tmp_path / "MAP-CC", suffixes)
    for number, given in enumerate((folder, f"{folder}/*.part*")):
        output = tmp_path / f"{number}.jsonl"
        done = convert_corpus("map_cc", [given], output)
        assert (done.manifest.documents, done.rejected) == (2000, 0)
        assert [document["id"] for document in read_json_lines(output)] == [str(i) for i in range(2000)]
        assert [file.name for file in done.manifest.inputs] == ["zh_baike.jsonl.gz"]
    assert convert_corpus("map_cc", [folder], tmp_path / "0.jsonl").done_before


@pytest.mark.parametrize(
    ("suffixes", "missing", "behind"),
    [
        (["partaa", "partab", "partac"], "partab", "partac"),
        (["partaa", "partab", "partac"], "partaa", "partab"),
        (["part1", "part2", "part3"], "part1", "part2"),
        (["part00", "part01", "part02"], "part01", "part02"),
    ],
)
def test_a_missing_part_is_told(suffixes: list[str], missing: str, behind: str, tmp_path: Path) -> None:
    folder = cut(tmp_path, suffixes)
    (folder / f"zh_baike.jsonl.gz.{missing}").unlink()
    with pytest.raises(DataError, match=f"what comes before .*{behind} is missing"):
        convert_corpus("map_cc", [folder], tmp_path / "out.jsonl")


def test_one_part_alone_and_other_names_are_files_as_they_are() -> None:
    files = ["a.gz.part1", "b.partial", "c.part.jsonl", "d.jsonl"]
    assert joined(files) == files
    assert joined(["x/a.part1", "y/a.part2"]) == ["x/a.part1", "y/a.part2"]
    assert joined(["a.part1", "b", "a.part2"]) == ["parts://a", "b"]


def test_a_place_without_parts_has_none(tmp_path: Path) -> None:
    assert parts_of(str(tmp_path / "none.gz")) == []
    assert parts_of(str(tmp_path / "no_folder" / "none.gz")) == []
    with pytest.raises(DataError, match="no input file at parts"):
        find_inputs([f"parts://{tmp_path}/none.gz"])
