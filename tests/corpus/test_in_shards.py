"""Folders of shards from command to command: one part each, the same bytes for any workers, a kill, a lost shard."""

from __future__ import annotations

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

from helpers.dedup_runs import lines_of
from helpers.small_tokenizer import small_tokenizer
from steel_megatron.cli.main import main
from steel_megatron.config import DataError
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.cleaning import clean, read_drops, read_recipe
from steel_megatron.corpus.dedup import SourceInput, deduplicate
from steel_megatron.jobs import shards
from steel_megatron.jobs.hashes import hash_file
from steel_megatron.jobs.manifest import JobManifest
from steel_megatron.tokens.manifest import Manifest

PART_BYTES = 20_000


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "LEAST_BYTES", 3_000)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A plain file of many parts, a packed one of many frames, and small files."""
    chance = random.Random(0)
    folder = tmp_path / "raw"
    folder.mkdir()
    texts = [" ".join(str(chance.randrange(10**6)) for _ in range(chance.randrange(1, 60))) for _ in range(2500)]
    lines = [json.dumps({"text": text}).encode() + b"\n" for text in [*texts, *texts[:300]]]
    (folder / "a.jsonl").write_bytes(b"".join(lines[:1500]))
    content = b"".join(lines[1500:2600])
    frames = [zstandard.compress(content[at : at + 7_001]) for at in range(0, len(content), 7_001)]
    (folder / "b.jsonl.zst").write_bytes(b"".join(frames))
    for number, line in enumerate(lines[2600:]):
        (folder / f"c{number:03d}.jsonl").write_bytes(line)
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("process: [{text_length_filter: {min_len: 40}}]\n")
    return path


def made(folder: Path) -> dict[str, bytes]:
    """What a command left of an output, and the manifest's shards."""
    names = {
        path: path.relative_to(folder.parent).as_posix().removeprefix(folder.name)
        for path in sorted(folder.parent.rglob("*"))
        if path.is_file() and path.relative_to(folder.parent).parts[0].startswith(folder.name)
    }
    return {name: path.read_bytes() for path, name in names.items() if not name.endswith((".json", ".html"))}


def shards_of(folder: Path) -> dict[str, bytes]:
    """The documents; lists of rejects, drops and duplicates name the files of the input."""
    return {name: data for name, data in made(folder).items() if name.startswith("/") and "duplicates" not in name}


def content(folder: Path) -> bytes:
    return b"".join(line for path in sorted(folder.iterdir()) for line in lines_of(path))


def test_every_command_reads_and_writes_shards(tmp_path: Path, raw: Path, recipe: Path) -> None:
    whole = convert_corpus("jsonl", [raw], tmp_path / "whole.jsonl")
    steps = read_recipe(str(recipe))
    for workers in (1, 2):
        out = tmp_path / str(workers)
        converted = convert_corpus("jsonl", [raw], out / "text", part_bytes=PART_BYTES, workers=workers)
        clean(steps, [converted.output], out / "clean", workers=workers)
        found = [SourceInput("s", str(out / "clean"))]
        deduplicate(found, out / "dedup", workers=workers)
    one, two = tmp_path / "1", tmp_path / "2"
    assert content(one / "text") == whole.output.read_bytes()
    for name in ("text", "clean"):
        assert shards_of(one / name) == shards_of(two / name)
        sizes = [path.stat().st_size for path in sorted((one / name).iterdir())]
        assert len(sizes) > 5
        assert all(3_000 <= size < 3_000 + PART_BYTES for size in sizes[:-1])
        manifest = JobManifest.read(one / name)
        assert [shard.path for shard in manifest.shards] == [path.name for path in sorted((one / name).iterdir())]
        assert [shard.sha256 for shard in manifest.shards] == [
            hash_file(path).sha256 for path in sorted((one / name).iterdir())
        ]
    dropped = sum(1 for _ in read_drops(one / "clean"))
    assert dropped > 0
    assert JobManifest.read(one / "clean").documents + dropped == 2800
    assert {path.name for path in one.iterdir()} == {
        *("text", "text.manifest.json", "dedup"),
        *("clean", "clean.drops", "clean.manifest.json", "clean.report.html", "clean.report.json"),
    }
    assert shards_of(one / "dedup") == shards_of(two / "dedup")
    outputs = sorted(path.name for path in (one / "dedup" / "s").iterdir())
    assert outputs == [shard.path for shard in JobManifest.read(one / "clean").shards]
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    for name in ("text", "whole.jsonl"):
        given = one / name if name == "text" else tmp_path / name
        flags = ["--input", str(given), "--tokenizer-model", str(tokenizer), "--output-prefix", str(tmp_path / name)]
        assert main(["tokenize", *flags, "--workers", "2" if name == "text" else "1"]) == 0
    ids = [tmp_path / f"{name}_text_document.bin" for name in ("text", "whole.jsonl")]
    assert ids[0].read_bytes() == ids[1].read_bytes()
    manifest = Manifest.find(tmp_path / "text_text_document")
    assert manifest is not None
    assert [record.sha256 for record in manifest.inputs] == [
        shard.sha256 for shard in JobManifest.read(one / "text").shards
    ]


def test_a_killed_run_goes_on_with_the_shards_that_are_there(tmp_path: Path, raw: Path) -> None:
    wanted = convert_corpus("jsonl", [raw], tmp_path / "wanted", part_bytes=PART_BYTES).output
    program = f"""
import time
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.convert import part
slow = part.normalize
part.normalize = lambda text: (time.sleep(0.0005), slow(text))[1]
convert_corpus("jsonl", [{str(raw)!r}], {str(tmp_path / "out")!r}, part_bytes={PART_BYTES})
"""
    process = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    work = tmp_path / "out.parts.partial"
    while len(list(work.glob("*.done"))) < 9:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    done = {path: path.stat().st_mtime_ns for path in work.glob("*.done")}
    made_again = []

    def note(path: Path) -> None:
        made_again.extend(each for each in done if each.stat().st_mtime_ns != done[each])

    with pytest.MonkeyPatch.context() as patch:
        write = shards.write_shards
        patch.setattr(
            "steel_megatron.corpus.convert.run.write_shards",
            lambda engine, pieces, folder: (note(folder), write(engine, pieces, folder))[1],
        )
        convert_corpus("jsonl", [raw], tmp_path / "out", part_bytes=PART_BYTES, workers=2)
    assert made_again == []
    assert shards_of(tmp_path / "out") == shards_of(wanted)


def test_what_is_there_is_left_or_replaced_knowingly(tmp_path: Path, raw: Path) -> None:
    first = convert_corpus("jsonl", [raw], tmp_path / "out", part_bytes=PART_BYTES)
    assert convert_corpus("jsonl", [raw], tmp_path / "out").done_before
    with pytest.raises(DataError, match="now x"):
        convert_corpus("jsonl", [raw], tmp_path / "out", source="x")
    before = made(first.output)
    other = convert_corpus("jsonl", [raw], tmp_path / "out", source="x", overwrite=True)
    assert other.manifest.documents == first.manifest.documents
    assert len(other.manifest.shards) < len(before)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {shard.path for shard in other.manifest.shards}


def test_a_lost_shard_is_named_by_the_next_command(
    tmp_path: Path, raw: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert_corpus("jsonl", [raw], tmp_path / "text", part_bytes=PART_BYTES)
    (tmp_path / "text" / "000002.jsonl.zst").unlink()
    words = ["clean", "--recipe", str(recipe), "--input", f"{tmp_path}/text/", "--output", str(tmp_path / "clean")]
    assert main(words) == 2
    assert "000002.jsonl.zst is not there" in capsys.readouterr().err
