"""The plan of the disk: by the files given, for a number of tokens, and that no stage takes its output twice."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from steel_megatron.config import DataError
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.dedup import SourceInput, deduplicate
from steel_megatron.jobs import shards, tasks
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.tokens.tokenise import join
from steel_megatron.tokens.tokenise.run import tokenize

FOLDER = Path(__file__).parents[2] / "examples" / "pretrain_1b"


@pytest.fixture
def disk_need(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    import disk_need

    return disk_need


def test_the_disk_is_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk_need: Any) -> None:
    from data_config import DataConfig, Source

    (tmp_path / "a.jsonl").write_bytes(b"x" * 1000)
    (tmp_path / "b.parquet").write_bytes(b"x" * 1000)
    sources = (Source("a", "text", (str(tmp_path / "a.jsonl"),)), Source("b", "text", (str(tmp_path / "*.parquet"),)))
    config = DataConfig(sources, None)
    needs = [disk_need.need_of(source, 4) for source in sources]
    assert [(need.raw, need.text, need.packed, need.tokens) for need in needs] == [
        (1000, 1000, 400, 1020),
        (1000, 3000, 1200, 3060),
    ]
    work = tmp_path / "work"
    work.mkdir()

    class Usage:
        free = 1200 + 4080 - 1

    monkeypatch.setattr(disk_need.shutil, "disk_usage", lambda path: Usage)
    with pytest.raises(DataError, match="KEEP_INTERMEDIATE=0"):
        disk_need.check_disk(config, work, False, 4, anyway=False)
    assert "5.3 kB are free" in disk_need.check_disk(config, work, False, 4, anyway=True)
    Usage.free += 1
    disk_need.check_disk(config, work, False, 4, anyway=False)


def test_stages_hold_their_texts_until_they_were_used(disk_need: Any) -> None:
    from data_config import DataConfig, Dedup, Source

    names = ("a", "b", "c")
    needs = [disk_need.Need(name, 0, 1000, 400, 500) for name in names]
    cleaned = DataConfig(tuple(Source(name, "text", (), "recipe") for name in names), Dedup())
    plain = DataConfig(tuple(Source(name, "text", ()) for name in names), None)

    def numbers(*given: Any) -> list[tuple[int, int]]:
        return [(moment.most, moment.after) for moment in disk_need.moments(needs, *given)]

    # Dropped: one text twice while it is cleaned; both of dedup's with 300 bytes a document; a text per step of three.
    assert numbers(cleaned, False, 1) == [(1600, 1200), (2400 + 900, 1200), (1500 + 400, 1500)]
    assert numbers(cleaned, False, 2) == [(2000, 1200), (2400 + 900, 1200), (1500 + 800, 1500)]
    assert numbers(cleaned, True, 1) == [(2400, 2400), (3600 + 900, 3600), (3600 + 1500, 3600 + 1500)]
    assert numbers(plain, False, 3) == [(1200, 1200), (1200 + 1500, 1500)]


def test_ids_take_two_bytes_where_they_can(disk_need: Any) -> None:
    assert [disk_need.token_bytes_of(size) for size in (32_000, 65_499, 65_500, 151_936)] == [2, 2, 4, 4]
    assert disk_need.token_bytes_of(151_936, "uint24") == 3


def test_one_trillion_tokens(disk_need: Any) -> None:
    """What docs/scale.md says: within 4 TB with ids of two or three bytes, not with four."""
    from data_config import DataConfig, Dedup, Source

    peaks = {}
    for token_bytes in (2, 3, 4):
        needs = disk_need.planned(10**12, 4.18, token_bytes, 2500, 10)
        config = DataConfig(tuple(Source(need.name, "", (), "recipe") for need in needs), Dedup())
        for keep in (True, False):
            peaks[token_bytes, keep] = max(moment.most for moment in disk_need.moments(needs, config, keep, 4, 2500))
    assert peaks[2, False] == peaks[3, False] < 4e12 < peaks[4, False] < peaks[4, True]
    done = subprocess.run(
        [sys.executable, str(FOLDER / "disk_need.py"), "--vocab-size", "64000"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert f"{peaks[2, False] / 1e12:.2f} TB" in done.stdout


def taken(folder: Path) -> int:
    """Bytes of the files below, those of several names counted once."""
    found = {}
    for path in folder.rglob("*"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            found[status.st_ino] = status.st_size
    return sum(found.values())


def test_no_stage_takes_its_output_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at whenever a task is done, and when all are."""
    monkeypatch.setattr(shards, "LEAST_BYTES", 20_000)
    monkeypatch.setattr(join, "GROUP_BYTES", 100_000)
    chance = random.Random(0)
    with open(tmp_path / "raw.jsonl", "w") as file:
        for _ in range(6000):
            file.write(json.dumps({"text": " ".join(str(chance.randrange(999)) for _ in range(80))}) + "\n")
    most = dict.fromkeys(("text", "ids", "dedup"), 0)
    finish = tasks.Task._finish

    def looked(task: tasks.Task, *given: Any) -> None:
        finish(task, *given)
        for name in most:
            most[name] = max(most[name], taken(tmp_path / name))

    monkeypatch.setattr(tasks.Task, "_finish", looked)
    convert_corpus("jsonl", [tmp_path / "raw.jsonl"], tmp_path / "text" / "shards", part_bytes=60_000)
    deduplicate([SourceInput("s", str(tmp_path / "text" / "shards"))], tmp_path / "dedup")
    tokenize([tmp_path / "dedup" / "s"], tmp_path / "ids" / "x", NullTokenizer(1000), part_bytes=20_000)
    ends = {name: taken(tmp_path / name) for name in most}
    assert ends["text"] > 10 * 60_000 / 3
    assert most["text"] < 1.05 * ends["text"]
    assert most["ids"] < ends["ids"] + 3 * 100_000 < 1.6 * ends["ids"]
    assert most["dedup"] < ends["dedup"] + 6000 * 450
