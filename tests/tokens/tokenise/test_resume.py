"""A run that stops after it has noted its place goes on there, and ends with the bytes of a run that never stopped."""

from __future__ import annotations

import json
import logging
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.json_lines import LINES, write_lines
from steel_megatron.config import DataError
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.tokens.indexed import IndexedWriter
from steel_megatron.tokens.tokenise import run as module
from steel_megatron.tokens.tokenise.run import tokenize

TOKENIZER = NullTokenizer(1000)
SETTINGS = {"append_eod": True, "block_bytes": 600, "journal_bytes": 1500}


def write_inputs(folder: Path) -> list[Path]:
    generator = random.Random(1)
    odd = [line for line in LINES if LINES[line] and len(line) < 1000]

    def lines(count: int) -> list[bytes | str]:
        texts = [" ".join(str(generator.randrange(1000)) for _ in range(generator.randrange(30))) for _ in range(count)]
        return [generator.choice(odd) if generator.random() < 0.1 else text for text in texts]

    names = ["a.jsonl", "b.jsonl.zst", "c.jsonl", "d.jsonl.gz"]
    paths = [write_lines(folder / name, lines(120)) for name in names]
    return [*paths, write_lines(folder / "empty.jsonl", [])]


class Stopped(BaseException):
    """As a signal would come."""


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def stopped_run(monkeypatch, blocks: int, paths: list[Path], folder: Path, settings: dict) -> None:
    """A run that stops when it takes a block too many."""
    take, left = module._Run._take, [blocks]

    def counted(self, result):
        if left[0] == 0:
            raise Stopped
        left[0] -= 1
        take(self, result)

    with monkeypatch.context() as patch:
        patch.setattr(module._Run, "_take", counted)
        with pytest.raises(Stopped):
            tokenize(paths, folder / "x", TOKENIZER, **settings)


@pytest.mark.parametrize("shuffle_seed", [None, 7])
def test_a_stopped_run_goes_on(tmp_path, monkeypatch, caplog, shuffle_seed):
    paths = write_inputs(tmp_path)
    settings = {**SETTINGS, "shuffle_seed": shuffle_seed}
    tokenize(paths, tmp_path / "whole" / "x", TOKENIZER, **settings)
    expected = files_of(tmp_path / "whole")
    assert len(expected) == 4
    for blocks in (1, 5, 12, 20):
        folder = tmp_path / f"stopped_{blocks}"
        stopped_run(monkeypatch, blocks, paths, folder, settings)
        assert all(name.endswith(".partial") for name in files_of(folder))
        stopped_run(monkeypatch, 4, paths, folder, settings)
        with caplog.at_level(logging.INFO):
            tokenize(paths, folder / "x", TOKENIZER, workers=2 if blocks == 12 else 1, **settings)
        assert files_of(folder) == expected
        assert not list(folder.glob("*.buckets*"))
    assert "goes on behind" in caplog.text


def test_it_goes_on_between_two_buckets(tmp_path, monkeypatch):
    monkeypatch.setattr("steel_megatron.tokens.tokenise.shuffled.BUCKET_BYTES", 500)
    paths = write_inputs(tmp_path)
    settings = {**SETTINGS, "shuffle_seed": 3}
    tokenize(paths, tmp_path / "whole" / "x", TOKENIZER, **settings)
    add_many, left = IndexedWriter.add_many, [5]

    def counted(self, ids, lengths):
        left[0] -= 1
        if left[0] < 0:
            raise Stopped
        add_many(self, ids, lengths)

    with monkeypatch.context() as patch:
        patch.setattr(IndexedWriter, "add_many", counted)
        with pytest.raises(Stopped):
            tokenize(paths, tmp_path / "stopped" / "x", TOKENIZER, **settings)
    journal = json.loads((tmp_path / "stopped" / "x.tokenize.partial").read_bytes())
    assert journal["states"]["text"]["counts"][4] == 5
    tokenize(paths, tmp_path / "stopped" / "x", TOKENIZER, **settings)
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("change", ["input", "settings"])
def test_what_has_changed_is_begun_again(tmp_path, monkeypatch, change):
    paths = write_inputs(tmp_path)
    stopped_run(monkeypatch, 20, paths, tmp_path, SETTINGS)
    settings = dict(SETTINGS)
    if change == "input":
        write_lines(paths[0], ["1 2 3", "4"])
    else:
        settings["append_eod"] = False
    tokenize(paths, tmp_path / "x", TOKENIZER, **settings)
    tokenize(paths, tmp_path / "y", TOKENIZER, **settings)
    assert (tmp_path / "x_text_document.bin").read_bytes() == (tmp_path / "y_text_document.bin").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_damage_keeps_the_place(tmp_path):
    paths = write_inputs(tmp_path)
    whole = paths[3].read_bytes()
    paths[3].write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"d\.jsonl\.gz"):
        tokenize(paths, tmp_path / "x", TOKENIZER, **SETTINGS)
    assert not (tmp_path / "x_text_document.bin").exists()
    paths[3].write_bytes(whole)
    tokenize(paths, tmp_path / "x", TOKENIZER, **SETTINGS)
    tokenize(paths, tmp_path / "y", TOKENIZER, **SETTINGS)
    assert (tmp_path / "x_text_document.bin").read_bytes() == (tmp_path / "y_text_document.bin").read_bytes()


KILLED = """
import os, signal, sys
from steel_megatron.tokens.tokenise import run as module
from steel_megatron.tokenizer.null import NullTokenizer
take, left = module._Run._take, [int(sys.argv[1])]
def counted(self, result):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    take(self, result)
module._Run._take = counted
seed = int(sys.argv[2]) or None
module.tokenize(sys.argv[4:], sys.argv[3], NullTokenizer(1000), append_eod=True, block_bytes=600, journal_bytes=1500,
    shuffle_seed=seed)
"""


@pytest.mark.parametrize("shuffle_seed", [None, 7])
def test_a_killed_run_goes_on(tmp_path, caplog, shuffle_seed):
    paths = write_inputs(tmp_path)
    settings = {**SETTINGS, "shuffle_seed": shuffle_seed}
    tokenize(paths, tmp_path / "whole" / "x", TOKENIZER, **settings)
    words = [sys.executable, "-c", KILLED, "17", str(shuffle_seed or 0), str(tmp_path / "killed" / "x")]
    done = subprocess.run([*words, *map(str, paths)], check=False)
    assert done.returncode == -signal.SIGKILL
    with caplog.at_level(logging.INFO):
        tokenize(paths, tmp_path / "killed" / "x", TOKENIZER, **settings)
    assert "goes on behind" in caplog.text
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
