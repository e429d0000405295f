"""A manifest of a job: kept over JSON, told apart from another, and never taken for what is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from steel_megatron.config import DataError
from steel_megatron.jobs.durable import write_json
from steel_megatron.jobs.hashes import FileRecord
from steel_megatron.jobs.manifest import SHOWN, JobManifest, finished_before
from steel_megatron.jobs.parts import InputFile

FILE = InputFile("/data/a.jsonl", "a.jsonl", 10, "1")
MADE = JobManifest("convert", {"corpus": "jsonl"}, (FILE,), {"documents": FileRecord("out.jsonl", 4, "h")})


def test_json_and_back() -> None:
    manifest = replace(MADE, rejects={"bad_json": 2}, passed_over=("x.bin",), documents=3)
    assert JobManifest.of({**manifest.content(), "more": "of a report"}) == manifest


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (replace(MADE, settings={"corpus": "table"}), "made with corpus jsonl, now table"),
        (replace(MADE, settings={**MADE.settings, "new": 1}), "made with new None, now 1"),
        (replace(MADE, format=2), "made with format 1, now 2"),
        (replace(MADE, inputs=()), "other files"),
        (replace(MADE, inputs=(replace(FILE, version="2"),)), "other files"),
        (replace(MADE, inputs=(replace(FILE, name="b.jsonl"),)), "other files"),
        (replace(MADE, inputs=(replace(FILE, path="/moved/a.jsonl"),)), ""),  # a folder of files may be moved
        (replace(MADE, inputs=(replace(FILE, sha256="known"),)), ""),
    ],
)
def test_difference(wanted: JobManifest, says: str) -> None:
    found = MADE.difference(wanted)
    assert says in found
    assert bool(found) is bool(says)


def test_a_file_without_a_name_is_known_by_its_path() -> None:
    named = replace(MADE, inputs=(replace(FILE, name=""),))
    assert named.difference(named) == ""
    assert named.difference(replace(MADE, inputs=(replace(FILE, name="", path="/moved/a.jsonl"),))) != ""


def test_a_long_setting_is_cut_in_the_error() -> None:
    said = MADE.difference(replace(MADE, settings={"corpus": "x" * 1000}))
    assert "x" * SHOWN + "…" in said
    assert "x" * (SHOWN + 1) not in said


def test_finished_before(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert finished_before(output, MADE) is None
    output.write_bytes(b"1234")
    with pytest.raises(DataError, match="no manifest"):
        finished_before(output, MADE)
    JobManifest.path(output).write_text("[]")
    with pytest.raises(DataError, match="cannot be read"):
        finished_before(output, MADE)
    write_json(JobManifest.path(output), MADE.content())
    assert finished_before(output, MADE) == MADE
    output.write_bytes(b"12345")
    with pytest.raises(DataError, match="it has 5 bytes, its manifest says 4"):
        finished_before(output, MADE)
    output.unlink()
    with pytest.raises(DataError, match="only its manifest is left"):
        finished_before(output, MADE)
