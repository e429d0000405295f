"""A run that stops goes on with the parts that are done, and ends with the bytes of a run that never stopped."""

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
from steel_megatron.jobs import hashes, tasks
from steel_megatron.reports.inspect import verify
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.tokens.manifest import Manifest
from steel_megatron.tokens.merge.run import merge
from steel_megatron.tokens.tokenise import flow, join, shuffled
from steel_megatron.tokens.tokenise import run as module
from steel_megatron.tokens.tokenise.run import tokenize

TOKENIZER = NullTokenizer(1000)
SETTINGS = {"append_eod": True, "part_bytes": 600}


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
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stop_at(patch: pytest.MonkeyPatch, where: object, name: str, calls: int) -> None:
    """Makes a function stop the run when it is called once too often."""
    real, left = getattr(where, name), [calls]

    def counted(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise Stopped
        return real(*arguments)

    patch.setattr(where, name, counted)


def stopped_run(
    monkeypatch: pytest.MonkeyPatch,
    calls: int,
    paths: list[Path],
    folder: Path,
    settings: dict,
    where: object = flow,
    name: str = "tokenize_part",
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, where, name, calls)
        with pytest.raises(Stopped):
            tokenize(paths, folder / "x", TOKENIZER, **settings)


@pytest.mark.parametrize("shuffle_seed", [None, 7])
def test_a_stopped_run_goes_on(tmp_path, monkeypatch, caplog, shuffle_seed):
    paths = write_inputs(tmp_path)
    settings = {**SETTINGS, "shuffle_seed": shuffle_seed}
    tokenize(paths, tmp_path / "whole" / "x", TOKENIZER, **settings)
    expected = files_of(tmp_path / "whole")
    assert len(expected) == 4
    for parts in (1, 5, 12, 20):
        folder = tmp_path / f"stopped_{parts}"
        stopped_run(monkeypatch, parts, paths, folder, settings)
        assert [path.name for path in folder.iterdir()] == ["x.parts.partial"]
        assert not list(folder.rglob("*.lines"))
        stopped_run(monkeypatch, 4, paths, folder, settings)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            tokenize(paths, folder / "x", TOKENIZER, workers=2 if parts == 12 else 1, **settings)
        assert files_of(folder) == expected
        assert f"{parts + 4} parts are there from a run before" in caplog.text


@pytest.mark.parametrize("calls", [0, 1, 3])
@pytest.mark.parametrize("what", ["place_ids", "place_index", "sort_group", "gather_bucket", "publish"])
def test_it_goes_on_in_the_midst_of_joining(tmp_path, monkeypatch, what, calls):
    monkeypatch.setattr(join, "GROUP_BYTES", 700)
    monkeypatch.setattr(shuffled, "BUCKET_BYTES", 500)
    paths = write_inputs(tmp_path)
    where = {"place_ids": flow, "place_index": module, "publish": module}.get(what, shuffled)
    settings = {**SETTINGS, "shuffle_seed": 3 if where is shuffled else None}
    calls = min(calls, 0 if what == "publish" else calls)
    tokenize(paths, tmp_path / "whole" / "x", TOKENIZER, **settings)
    stopped_run(monkeypatch, calls, paths, tmp_path / "stopped", settings, where, what)
    with monkeypatch.context() as patch:
        if what != "place_ids":
            stop_at(patch, flow, "tokenize_part", 0)  # all parts are done, and some are used
        tokenize(paths, tmp_path / "stopped" / "x", TOKENIZER, **settings)
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")


def test_the_disk_holds_the_ids_once(tmp_path, monkeypatch):
    monkeypatch.setattr(join, "GROUP_BYTES", 700)
    paths = write_inputs(tmp_path)
    stopped_run(monkeypatch, 3, paths, tmp_path / "out", SETTINGS, flow, "place_ids")
    work = tmp_path / "out" / "x.parts.partial"
    placed = sum(json.loads(mark.read_bytes())["stop"] for mark in work.glob("used.0.000002.done"))
    assert placed > 3
    assert sorted(int(path.name[:6]) for path in work.glob("*.0.ids"))[0] == placed


def test_where_the_joined_ids_are_gone_the_work_begins_again(tmp_path, monkeypatch):
    monkeypatch.setattr(join, "GROUP_BYTES", 700)
    paths = write_inputs(tmp_path)
    tokenize(paths, tmp_path / "whole" / "x", TOKENIZER, **SETTINGS)
    stopped_run(monkeypatch, 3, paths, tmp_path / "stopped", SETTINGS, flow, "place_ids")
    (tmp_path / "stopped" / "x_text_document.bin.partial").unlink()
    tokenize(paths, tmp_path / "stopped" / "x", TOKENIZER, **SETTINGS)
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")


def test_ids_that_a_power_cut_took_are_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(join, "GROUP_BYTES", 700)
    paths = write_inputs(tmp_path)
    tokenize(paths, tmp_path / "whole" / "x", TOKENIZER, **SETTINGS)
    stopped_run(monkeypatch, 4, paths, tmp_path / "stopped", SETTINGS, flow, "place_ids")
    file = tmp_path / "stopped" / "x_text_document.bin.partial"
    data = file.read_bytes()
    file.write_bytes(data[:800] + bytes(len(data) - 800))
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "_boot", lambda: "another start of the machine")
        tokenize(paths, tmp_path / "stopped" / "x", TOKENIZER, **SETTINGS)
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")


def test_hashes_of_blocks_are_the_same_for_any_workers_and_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(join, "GROUP_BYTES", 700)
    for where in (flow, hashes):
        monkeypatch.setattr(where, "BLOCK_BYTES", 1000)
    paths = write_inputs(tmp_path)
    for name, part_bytes, seed in (("a", 600, None), ("b", 5000, None), ("c", 600, 3)):
        tokenize(paths, tmp_path / name / "x", TOKENIZER, append_eod=True, part_bytes=part_bytes, shuffle_seed=seed)
    one, other, mixed = (verify(tmp_path / name / "x_text_document") for name in "abc")
    assert one.hashes_checked
    assert one == other == mixed
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    manifest = Manifest.find(tmp_path / "a" / "x_text_document")
    assert manifest is not None
    assert manifest.outputs["bin"].sha256.startswith("blocks-of-1GiB:")
    merged = merge([tmp_path / name / "x_text_document" for name in "ab"], tmp_path / "merged")
    assert merged.manifest is not None
    verify(tmp_path / "merged")
    with open(tmp_path / "b" / "x_text_document.bin", "r+b") as file:
        file.seek(1200)
        file.write(b"\1\0")
    with pytest.raises(DataError, match="its manifest says blocks-of-1GiB"):
        verify(tmp_path / "b" / "x_text_document")


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


def test_damage_keeps_what_is_done(tmp_path):
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
from steel_megatron.tokens.tokenise import flow, run as module
from steel_megatron.tokenizer.null import NullTokenizer
tokenize_part, left = flow.tokenize_part, [int(sys.argv[1])]
def counted(job, part):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return tokenize_part(job, part)
flow.tokenize_part = counted
seed = int(sys.argv[2]) or None
module.tokenize(sys.argv[4:], sys.argv[3], NullTokenizer(1000), append_eod=True, part_bytes=600, shuffle_seed=seed)
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
    assert "17 parts are there from a run before" in caplog.text
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
