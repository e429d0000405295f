from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zstandard

from helpers.corpus_files import read_json_lines, write_json_lines, write_parquet
from steel_megatron.cli.main import main
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus import Converted, convert_corpus
from steel_megatron.jobs.manifest import JobManifest


def mixed_input(folder: Path, count: int = 3000) -> Path:
    """Files of several kinds, large enough for many parts of 20 kB, with bad records among the good."""
    generator = random.Random(0)
    words = [bytes([0xE4, 0xB8, 0x80 + i]).decode() * 3 for i in range(40)]
    records = [{"text": "".join(generator.choices(words, k=generator.randint(1, 30))), "n": i} for i in range(count)]
    lines: list[object] = list(records)
    for place in range(5, count, 400):
        lines[place] = b'{"text": "cut'
    for place in range(9, count, 500):
        lines[place] = b""
    write_json_lines(folder / "a" / "plain.json", lines)
    (folder / "a" / "packed.jsonl.gz").write_bytes(gzip.compress((folder / "a" / "plain.json").read_bytes()))
    (folder / "array.json").write_text(json.dumps([*records[:200], 7, *records[200:300]], ensure_ascii=False))
    texts = [record["text"] for record in records]
    write_parquet(folder / "rows.parquet", {"text": ("string", [*texts, None])}, row_group_size=400)
    (folder / "LICENSE").write_text("not a record\n")
    (folder / "empty.jsonl").write_bytes(b"")
    return folder


def convert(folder: Path, output: Path, workers: int = 1, **kwargs: object) -> Converted:
    return convert_corpus("jsonl", [folder], output, workers=workers, part_bytes=20_000, **kwargs)  # type: ignore[arg-type]  # options of any kind


def test_the_same_bytes_for_any_workers_and_parts(tmp_path: Path) -> None:
    folder = mixed_input(tmp_path / "in")
    one = convert(folder, tmp_path / "1" / "out.jsonl")
    three = convert(folder, tmp_path / "3" / "out.jsonl", workers=3)
    whole = convert_corpus("jsonl", [folder], tmp_path / "whole" / "out.jsonl")
    assert one.output.read_bytes() == three.output.read_bytes() == whole.output.read_bytes()
    assert one.rejects_path is not None
    for other in (three, whole):
        assert other.rejects_path is not None
        assert one.rejects_path.read_bytes() == other.rejects_path.read_bytes()
        assert one.manifest == other.manifest
    assert sorted(path.name for path in one.output.parent.iterdir()) == [
        "out.jsonl",
        "out.jsonl.manifest.json",
        "out.jsonl.rejects.jsonl",
    ]


def test_every_record_is_a_document_or_a_reject_at_its_place(tmp_path: Path) -> None:
    folder = mixed_input(tmp_path / "in")
    done = convert(folder, tmp_path / "out.jsonl", source="mine")
    documents = read_json_lines(done.output)
    assert len(documents) == done.manifest.documents
    assert done.manifest.records == done.manifest.documents + sum(done.manifest.rejects.values())
    assert done.manifest.rejects == {"bad_json": 16, "not_an_object": 1, "null_field": 1}
    assert done.manifest.passed_over == ("LICENSE",)
    assert {document["source"] for document in documents} == {"mine"}
    assert len({document["id"] for document in documents}) == len(documents)
    lines = (folder / "a" / "plain.json").read_bytes().split(b"\n")
    for document in documents:
        name, _, number = document["id"].rpartition(":")
        if name == "a/plain.json":
            assert json.loads(lines[int(number) - 1])["text"] == document["text"]
    assert done.rejects_path is not None
    rejects = read_json_lines(done.rejects_path)
    plain = [reject for reject in rejects if reject["file"] == str(folder / "a" / "plain.json")]
    assert [reject["line"] for reject in plain] == [place + 1 for place in range(5, 3000, 400)]
    assert all(lines[reject["line"] - 1].decode() == reject["content"] for reject in plain)
    [row] = [reject for reject in rejects if reject["file"].endswith("parquet")]
    assert (row["record"], row["line"], row["reason"]) == (3001, None, "null_field")


@pytest.mark.parametrize("packing", ["gz", "zst"])
def test_packed_output_holds_the_same(tmp_path: Path, packing: str) -> None:
    folder = mixed_input(tmp_path / "in", count=600)
    plain = convert(folder, tmp_path / "out.jsonl")
    first = convert(folder, tmp_path / f"out.jsonl.{packing}")
    second = convert(folder, tmp_path / "again" / f"out.jsonl.{packing}", workers=2)
    assert first.output.read_bytes() == second.output.read_bytes()
    with open(first.output, "rb") as file:
        content = (
            gzip.decompress(file.read())
            if packing == "gz"
            else zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
        )
    assert content == plain.output.read_bytes()


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = mixed_input(tmp_path / "in")
    expected = convert(folder, tmp_path / "whole.jsonl").output.read_bytes()
    output = tmp_path / "out.jsonl"
    program = f"""
import time
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.convert import part as convert_part
slow = convert_part.normalize
convert_part.normalize = lambda text: (time.sleep(0.0005), slow(text))[1]
convert_corpus("jsonl", [{str(folder)!r}], {str(output)!r}, part_bytes=20_000)
"""
    process = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    parts = tmp_path / "out.jsonl.parts"
    while len(list(parts.glob("*.done"))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not output.exists()
    done = {path: path.stat().st_mtime_ns for path in parts.glob("*.done")}
    with pytest.raises(DataError, match="no document"):  # other settings take nothing from the parts that are there
        convert_corpus("jsonl", [folder], output, options={"text_key": "other"}, part_bytes=20_000)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert convert(folder, output, workers=2).output.read_bytes() == expected
    assert not parts.exists()


def test_finished_parts_are_used(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "in" / "a.jsonl", [{"text": "one"}])
    bad = tmp_path / "in" / "b.jsonl.gz"
    bad.write_bytes(gzip.compress(b'{"text": "two"}\n' + random.Random(0).randbytes(4000).hex().encode())[:2000])
    with pytest.raises(DataError, match=r"1 of 2 files cannot be read to the end:(.|\n)*b\.jsonl\.gz"):
        convert(tmp_path / "in", tmp_path / "out.jsonl")
    [documents] = (tmp_path / "out.jsonl.parts").glob("*.documents")
    documents.write_bytes(documents.read_bytes().replace(b"one", b"ONE"))  # to see that it is taken as it is
    bad.write_bytes(gzip.compress(b'{"text": "two"}\n'))
    texts = [document["text"] for document in read_json_lines(convert(tmp_path / "in", tmp_path / "out.jsonl").output)]
    assert texts == ["ONE", "two"]


def test_a_changed_file_is_done_again(tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "a.jsonl", [{"text": "one"}])
    broken = tmp_path / "b.jsonl.gz"
    broken.write_bytes(gzip.compress(b'{"text": "two"}\n')[:-1])
    inputs = [path, broken]
    with pytest.raises(DataError):
        convert_corpus("jsonl", inputs, tmp_path / "out.jsonl")
    write_json_lines(path, [{"text": "uno"}])
    broken.write_bytes(gzip.compress(b'{"text": "two"}\n'))
    done = convert_corpus("jsonl", inputs, tmp_path / "out.jsonl")
    assert [document["text"] for document in read_json_lines(done.output)] == ["uno", "two"]


def test_what_is_there_is_kept_or_replaced_knowingly(tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "in.jsonl", [{"text": "one"}])
    output = tmp_path / "out.jsonl"
    first = convert_corpus("jsonl", [path], output)
    again = convert_corpus("jsonl", [path], output)
    assert (first.done_before, again.done_before) == (False, True)
    assert again.manifest == first.manifest == JobManifest.read(output)
    with pytest.raises(DataError, match="is there already, and it was made with source jsonl, now x"):
        convert_corpus("jsonl", [path], output, source="x")
    write_json_lines(path, [{"text": "one"}, {"text": "two"}])
    with pytest.raises(DataError, match="made from other files"):
        convert_corpus("jsonl", [path], output)
    assert convert_corpus("jsonl", [path], output, overwrite=True).manifest.documents == 2
    output.write_bytes(b"other")
    with pytest.raises(DataError, match="it has 5 bytes"):
        convert_corpus("jsonl", [path], output)
    JobManifest.path(output).unlink()
    with pytest.raises(DataError, match="no manifest"):
        convert_corpus("jsonl", [path], output)


def test_rejects_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "in.jsonl", [{"text": "one"}, 7])
    rejects = convert_corpus("jsonl", [path], tmp_path / "out.jsonl").rejects_path
    assert rejects is not None
    assert rejects.exists()
    write_json_lines(path, [{"text": "one"}])
    assert convert_corpus("jsonl", [path], tmp_path / "out.jsonl", overwrite=True).rejects_path is None
    assert not rejects.exists()


def test_a_record_that_breaks_the_corpus_code_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_json_lines(tmp_path / "in.jsonl", [{"text": "one"}, {"text": "two"}, {"text": "three"}])
    from steel_megatron.corpus.convert import part as convert_part

    def fails_on_two(text: str) -> str:
        return text if text != "two" else str(1 // 0)

    monkeypatch.setattr(convert_part, "normalize", fails_on_two)
    done = convert_corpus("jsonl", [path], tmp_path / "out.jsonl")
    assert done.manifest.rejects == {"unexpected": 1}
    assert done.rejects_path is not None
    assert "ZeroDivisionError" in read_json_lines(done.rejects_path)[0]["detail"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"\0\1\2" * 100, "a.jsonl is binary"),
        ("a.jsonl", b"prose, no records\n", "a.jsonl begins with no record: prose, no records"),
        ("a.jsonl", b'{"content": "x"}\n', r"no document: 1 records rejected \(missing_field 1\)"),
        ("a.jsonl", b"", "no document"),
        ("a.parquet", b"PAR1 and then nothing", "cannot read"),
    ],
)
def test_input_that_cannot_be_right_is_an_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        convert_corpus("jsonl", [tmp_path / name], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_settings_that_cannot_be_right_are_errors(tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "in.jsonl", [{"text": "one"}])
    with pytest.raises(ConfigError, match=r"it ends in \.jsonl, \.jsonl\.gz, \.jsonl\.zst"):
        convert_corpus("jsonl", [path], tmp_path / "out.json")
    with pytest.raises(ConfigError, match="--text-key with --corpus skypile"):
        convert_corpus("skypile", [path], tmp_path / "out.jsonl", options={"text_key": "x"})


def test_text_files_are_a_document_each(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "one.md").write_bytes("\ufeff# 标题\r\n正文".encode())
    (tmp_path / "in" / "sub" / "two.txt.gz").write_bytes(gzip.compress(b"two"))
    (tmp_path / "in" / "three.txt").write_bytes("汉字".encode("gb18030"))
    (tmp_path / "in" / "four.txt").write_bytes(b"\0\1\2")
    (tmp_path / "in" / "picture.svg").write_text("<svg/>")
    done = convert_corpus("text", [tmp_path / "in"], tmp_path / "out.jsonl")
    assert read_json_lines(done.output) == [
        {"text": "# 标题\n正文", "source": "text", "id": "one.md"},
        {"text": "two", "source": "text", "id": "sub/two.txt.gz"},
        {"text": "汉字", "source": "text", "id": "three.txt"},
    ]
    assert done.manifest.rejects == {"binary": 1}


def test_a_byte_that_is_no_text_costs_its_line(tmp_path: Path) -> None:
    lines = [b'{"text": "first"}', b'{"text": "bad \0 one"}', bytes(700), b"\xef\xbb\xbf" + b'{"text": "marked"}']
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "in" / "b.jsonl").write_bytes(bytes(700) + b'\n{"text": "behind zeros"}\n')
    (tmp_path / "in" / "c.json").write_bytes(b'[{"text": "of an array"}, {"text": "bad \0 one"}, {"text": "last"}]')
    done = convert_corpus("jsonl", [tmp_path / "in"], tmp_path / "out.jsonl")
    texts = [record["text"] for record in read_json_lines(done.output)]
    assert texts == ["first", "marked", "behind zeros", "of an array", "last"]
    assert done.manifest.rejects == {"bad_json": 4}
    assert list(done.manifest.suspects) == ["b.jsonl"]


def test_files_that_are_something_else_are_counted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    for name, content in {
        "a.jsonl": b'{"text": "good"}\n',
        "b.jsonl": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "c.jsonl": b"",
        "d.jsonl": bytes(5000),
    }.items():
        (tmp_path / "in" / name).write_bytes(content)
    command = ["convert", "--corpus", "jsonl", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "o.jsonl")]
    for strict, status in (([], 0), (["--strict"], 1)):
        assert main([*command, *strict]) == status
        said = capfd.readouterr()
        for words in ("b.jsonl is a Git LFS pointer", "c.jsonl is empty", "d.jsonl begins with zeros"):
            assert words in said.out
            assert words in caplog.text
    manifest = json.loads((tmp_path / "o.jsonl.manifest.json").read_bytes())
    assert sorted(manifest["suspects"]) == ["b.jsonl", "c.jsonl", "d.jsonl"]
    assert manifest["rejects"] == {"bad_json": 4}
