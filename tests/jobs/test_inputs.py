from __future__ import annotations

from pathlib import Path

import pytest
import zstandard

from helpers.dedup_runs import run_dedup
from steel_megatron.config import DataError
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.dedup import SourceInput, deduplicate
from steel_megatron.jobs.inputs import BROKEN_LINK, CYCLE, JSON_LINES, Found, find_inputs
from steel_megatron.jobs.never_data import HIDDEN, JUNK, OURS


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.md.gz", "c.svg", "deep/er/d.txt", ".hidden.txt", ".git/e.txt", "x.manifest.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_a_folder_sorted_and_by_suffix(tree: Path) -> None:
    assert [file.name for file in find_inputs([tree]).files] == ["a.md.gz", "b.txt", "c.svg", "deep/er/d.txt"]
    assert [file.name for file in find_inputs([tree], (".txt", ".md")).files] == ["a.md.gz", "b.txt", "deep/er/d.txt"]


def test_names_are_below_what_was_given(tree: Path) -> None:
    assert [file.name for file in find_inputs([tree / "deep" / "er" / "d.txt"]).files] == ["d.txt"]
    assert [file.name for file in find_inputs([f"{tree}/**/*.txt"]).files] == ["b.txt", "deep/er/d.txt"]
    assert [file.name for file in find_inputs([f"{tree}/deep/*/d.t?t"]).files] == ["er/d.txt"]


def test_each_file_once_in_the_order_given(tree: Path) -> None:
    found = find_inputs([tree / "deep", tree / "b.txt", tree]).files
    assert [Path(file.location).name for file in found] == ["d.txt", "b.txt", "a.md.gz", "c.svg"]


def test_names_stay_unique(tree: Path) -> None:
    for part in ("en", "zh"):
        (tree / part).mkdir()
        (tree / part / "same.txt").write_text(part)
    assert [file.name for file in find_inputs([tree / "en" / "same.txt", tree / "zh"]).files] == [
        "en/same.txt",
        "zh/same.txt",
    ]


@pytest.mark.parametrize("pattern", ["nowhere.txt", "none*.txt", "empty"])
def test_nothing_there_is_an_error(tree: Path, pattern: str) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(DataError, match="no input file at"):
        find_inputs([tree / pattern])


def names(found: Found) -> list[str]:
    return [file.name for file in found.files]


def test_all_endings_of_json_lines_plain_and_packed(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl.gz", "c.json.zst", "deep/d.ndjson", "e.jsonl.bz2", "f.ndjson.xz", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    found = find_inputs([tmp_path], JSON_LINES)
    assert names(found) == ["a.jsonl.gz", "b.jsonl", "c.json.zst", "deep/d.ndjson", "e.jsonl.bz2", "f.ndjson.xz"]
    assert found.left == {".txt": ["notes.txt"]}
    assert names(find_inputs([f"{tmp_path}/*.jsonl*"], JSON_LINES)) == ["a.jsonl.gz", "b.jsonl", "e.jsonl.bz2"]


def test_links_to_folders_are_followed_and_cycles_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw, disk = tmp_path / "raw", tmp_path / "disk"
    for path in (raw / "one" / "a.jsonl", disk / "two" / "b.jsonl"):
        path.parent.mkdir(parents=True)
        path.write_text("{}\n")
    (raw / "two").symlink_to(disk / "two")
    (raw / "again").symlink_to(raw / "one")
    (raw / "one" / "loop").symlink_to(raw)
    (disk / "two" / "back").symlink_to(raw)
    (raw / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    (raw / "c.jsonl").symlink_to(disk / "blob")
    (disk / "blob").write_text("{}\n")
    found = find_inputs([raw], JSON_LINES)
    assert names(found) == ["c.jsonl", "one/a.jsonl", "two/b.jsonl"]  # of two ways to one/, that without a link
    assert found.left == {CYCLE: ["one/loop", "two/back"], BROKEN_LINK: ["gone.jsonl"]}
    found.tell()
    assert "one/loop, two/back" in caplog.text
    assert "gone.jsonl" in caplog.text


def test_what_is_never_data_is_left_and_counted(tmp_path: Path) -> None:
    left = [
        ".DS_Store",
        ".git/x.jsonl",
        ".ipynb_checkpoints/a-checkpoint.jsonl",
        "__MACOSX/a.jsonl",
        "a.jsonl.manifest.json",
        "a.jsonl.rejects.jsonl",
        "a.jsonl.drops.jsonl.zst",
        "a.jsonl.report.json",
        "b.jsonl.partial",
        "b.jsonl.parts/x.jsonl",
    ]
    taken = ["a.jsonl", "annual_report.json", "manifest.json", "rejects.jsonl", "report.json", "duplicates.jsonl.zst"]
    for name in [*left, *taken]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    found = find_inputs([tmp_path], JSON_LINES)
    assert names(found) == sorted(taken)  # names that anybody may give: nothing here says that dedup wrote them
    assert {reason: len(where) for reason, where in found.left.items()} == {HIDDEN: 3, JUNK: 1, OURS: 6}
    assert names(find_inputs([tmp_path / "a.jsonl.rejects.jsonl"], JSON_LINES)) == ["a.jsonl.rejects.jsonl"]


@pytest.mark.parametrize("done", [True, False])
def test_the_folder_that_dedup_leaves_holds_the_documents_alone(tmp_path: Path, done: bool) -> None:
    run_dedup(tmp_path, {"web": ["a text", "a text", "another"]}, "out")
    if not done:  # stopped after the lists were written
        (tmp_path / "out" / "report.json").unlink()
        (tmp_path / "out" / ".work").mkdir()
        (tmp_path / "out" / ".work" / "plan.json").write_text("{}")
    for pattern in (tmp_path / "out", tmp_path / "out" / "**" / "*.zst"):
        assert names(find_inputs([pattern], JSON_LINES)) == ["web/web.jsonl.zst"]


def test_packings_that_are_not_read_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    (tmp_path / "b.json.7z").write_bytes(b"7z\xbc\xaf\x27\x1c\0\4")
    (tmp_path / "c.jsonl").write_bytes(b"Rar!\x1a\x07\x00")
    (tmp_path / "d.tar.gz").touch()
    found = find_inputs([tmp_path / "a.jsonl", tmp_path], JSON_LINES)
    found.tell()
    assert found.left == {".7z": ["b.json.7z"], ".tar.gz": ["d.tar.gz"]}
    assert "unpack it first): b.json.7z" in caplog.text
    assert "steel convert reads archives): d.tar.gz" in caplog.text
    for name, packing in (("b.json.7z", ".7z"), ("c.jsonl", ".rar")):
        with pytest.raises(DataError, match=f"{name} is packed as {packing}"):
            find_inputs([tmp_path / name])


def test_urls_are_searched_as_folders_are(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("a.jsonl", "deep/b.ndjson", "a.jsonl.manifest.json", ".hidden.jsonl", "notes.md"):
        memory.pipe(f"/searched/{name}", b"{}\n")
    found = find_inputs(["memory://searched"], JSON_LINES)
    assert names(found) == ["a.jsonl", "deep/b.ndjson"]
    assert found.left == {OURS: ["a.jsonl.manifest.json"], HIDDEN: [".hidden.jsonl"], ".md": ["notes.md"]}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "HTML"),
        (bytes(4096), "zeros"),
        (bytes(600) + b'\n{"text": "a"}\n', "zeros"),
        ('{"text": "甲"}\n'.encode("utf-16-le"), "UTF-16 without a mark"),
        ('{"text": "甲"}\n'.encode("utf-16"), "UTF-16"),
        (b'{"text": "a"}\n', ""),
        (b"\xef\xbb\xbf{}\n", ""),
    ],
)
def test_files_that_are_not_what_their_names_say(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    (tmp_path / "b.jsonl").write_text("{}\n")
    told = find_inputs([tmp_path], JSON_LINES).tell()
    assert list(told) == (["a.jsonl"] if what else [])
    assert what in told.get("a.jsonl", "")


def test_what_a_run_wrote_before_is_no_input_of_the_same_command(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    for _ in range(2):
        converted = convert_corpus("jsonl", [f"{tmp_path}/*.jsonl"], tmp_path / "out.jsonl")
        assert converted.manifest.documents == 1
        done = deduplicate([SourceInput("s", str(tmp_path / "*.jsonl"))], tmp_path / "dedup")
        assert done.report["sources"]["s"]["records"] == 2  # the file and what convert made of it
        inside = deduplicate([SourceInput("s", str(tmp_path / "dedup"))], tmp_path / "dedup" / "again")
        assert inside.report["sources"]["s"]["records"] == 1
    assert names(find_inputs([tmp_path / "out.jsonl"], output=tmp_path / "out.jsonl")) == ["out.jsonl"]  # it is named


def test_an_output_that_holds_no_document_is_not_suspect(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(b""))
    (tmp_path / "b.jsonl").touch()
    (tmp_path / "b.jsonl.manifest.json").write_text("{}")
    (tmp_path / "c.jsonl").touch()
    assert list(find_inputs([tmp_path], JSON_LINES).tell()) == ["c.jsonl"]
