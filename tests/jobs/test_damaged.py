"""--skip-damaged: what can be read of cut and damaged files is taken by every command, and all else is counted."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from helpers.small_tokenizer import small_tokenizer
from steel_megatron.cli.main import main
from steel_megatron.jobs.inputs import Input
from steel_megatron.jobs.parts import InputFile, damaged_files, line_parts, numbered, whole_file

RECORDS = [json.dumps({"text": f"record {number} of a file " * 3, "id": f"r{number}"}) for number in range(400)]
LINES = "".join(record + "\n" for record in RECORDS).encode()


def frames(count: int) -> list[bytes]:
    """The lines as zstd frames with checksums, cut without regard to line ends."""
    size = len(LINES) // count + 1
    packer = zstandard.ZstdCompressor(write_checksum=True)
    return [packer.compress(LINES[at : at + size]) for at in range(0, len(LINES), size)]


def damaged_frame(frame: bytes) -> bytes:
    return frame[:-4] + bytes(4)  # its checksum


def one_damaged() -> bytes:
    first, second, third, *rest = frames(5)
    return b"".join([first, second, damaged_frame(third), *rest])


FILES = {
    "tail.jsonl.gz": gzip.compress(LINES)[:-300],
    "cut.jsonl.zst": zstandard.compress(LINES)[:-40],
    "frame.jsonl.zst": one_damaged(),
    "whole.jsonl": LINES,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name, content in FILES.items():
        (tmp_path / "in" / name).write_bytes(content)
    return tmp_path


def command(name: str, folder: Path) -> tuple[list[str], Path]:
    """The words of a command, and the manifest (dedup's report) that it leaves."""
    recipe = folder / "r.yaml"
    recipe.write_text("process:\n  - text_length_filter: {min_len: 1}\n")
    given = ["--input", str(folder / "in")]
    words, manifest = {
        "convert": (["--corpus", "jsonl", *given, "--output", str(folder / "o.jsonl")], "o.jsonl.manifest.json"),
        "clean": (["--recipe", str(recipe), *given, "--output", str(folder / "c.jsonl")], "c.jsonl.manifest.json"),
        "dedup": (["--exact-only", "--input", f"a={folder / 'in'}", "--output", str(folder / "d")], "d/report.json"),
        "tokenize": (
            [*given, "--output-prefix", str(folder / "t"), "--tokenizer-model", str(small_tokenizer(folder / "model"))],
            "t_text_document.manifest.json",
        ),
    }[name]
    return [name, *words], folder / manifest


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("name", ["convert", "clean", "dedup", "tokenize"])
def test_every_command_takes_what_can_be_read(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, workers: str
) -> None:
    words, path = command(name, folder)
    words = [*words, "--workers", workers]
    assert main(words) == 2
    assert "cut" in capsys.readouterr().err
    assert not path.exists()
    assert main([*words, "--skip-damaged"]) == 0
    out = capsys.readouterr().out
    manifest: dict[str, Any] = json.loads(path.read_bytes())
    names = {each.removeprefix("a/") for each in manifest["damaged"]}
    assert names == {"tail.jsonl.gz", "cut.jsonl.zst", "frame.jsonl.zst"}
    assert all("damaged or cut" in what for what in manifest["damaged"].values())
    for each in names:
        assert f"{each} was read in part: " in out
    if name == "dedup":  # the others are copies
        assert manifest["sources"]["a"]["kept"] == 400
        assert manifest["sources"]["a"]["exact"] > 600
    else:
        # All of the whole file, four fifths of the one with a damaged frame, most of the cut ones.
        assert 400 + 318 < manifest["documents"] < 4 * 400 - 80
    assert main([*words, "--skip-damaged"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main([*words, "--skip-damaged", "--overwrite", "--strict"]) == 1
    assert main(words) == 2  # not what this asks for


def test_a_damaged_frame_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(one_damaged())
    file = InputFile.of(Input(str(path), path.name, searched=False))
    for part_bytes in (1 << 20, 1 << 10):
        parts = numbered(line_parts(whole_file(file, skip_damaged=True), part_bytes))
        assert len(parts) == (1 if part_bytes == 1 << 20 else 5)
        read = b"".join(b"".join(part.content()) for part in parts).split(b"\n")
        whole = [line.decode() for line in read if line.startswith(b'{"text"') and line.endswith(b'"}')]
        assert whole == [record for record in RECORDS if record in whole]
        assert 318 <= len(whole) <= 321
        assert len([line for line in read if line and line.decode() not in RECORDS]) <= 2
        assert list(damaged_files(parts, [part.damage for part in parts])) == ["a.jsonl.zst"]


def test_archives_and_tables_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.parquet").write_bytes(b"PAR1 and then nothing")
    (tmp_path / "in" / "b.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    (tmp_path / "in" / "c.jsonl").write_bytes(LINES)
    words, path = command("convert", tmp_path)
    assert main(words) == 2
    assert main([*words, "--skip-damaged"]) == 0
    manifest = json.loads(path.read_bytes())
    assert manifest["documents"] == 400
    assert sorted(manifest["damaged"]) == ["a.parquet", "b.zip"]
    assert "b.zip was read in part" in capsys.readouterr().out
