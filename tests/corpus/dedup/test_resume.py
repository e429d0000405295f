"""A run that is killed goes on at the first task that is not done, and ends with the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from helpers.dedup_runs import contents, write_source
from helpers.planted_duplicates import plant
from steel_megatron.corpus.dedup import SourceInput, deduplicate
from steel_megatron.corpus.dedup.plan import WORK
from steel_megatron.jobs.tasks import Task

STAGES = ["signatures", "candidate_pairs", "verified_pairs", "write"]
PART_BYTES = 1 << 14
PROGRAM = """
import os, sys
from steel_megatron.corpus.dedup import SourceInput, deduplicate
from steel_megatron.jobs.tasks import Task
stage, source, output = sys.argv[1:]
finish = Task._finish
def finish_and_hang(task, paths, counts):
    if task.stem.parent.name == stage:
        print("here", flush=True)
        sys.stdin.read()  # until the kill: the files are written, the mark is not
    finish(task, paths, counts)
Task._finish = finish_and_hang
deduplicate([SourceInput("s", source)], output, part_bytes=%d)
"""


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_goes_on(tmp_path: Path, stage: str) -> None:
    texts = [document.text for document in plant(9, 3, chinese=True, units=(60, 200))]
    source = write_source(tmp_path, "s", texts)
    whole = deduplicate([SourceInput("s", str(source))], tmp_path / "whole", part_bytes=PART_BYTES)
    command = [sys.executable, "-c", PROGRAM % PART_BYTES, stage, str(source), str(tmp_path / "killed")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    work = tmp_path / "killed" / WORK
    markers = {path: path.stat().st_mtime_ns for path in work.rglob("0*.json")}
    assert all(path.parent.name != stage for path in markers)
    assert bool(markers) == (stage != STAGES[0])
    assert not (tmp_path / "killed" / "report.json").exists()
    redone = watch_redone(source, tmp_path / "killed", set(markers))
    assert redone == set()
    assert contents(tmp_path / "killed") == contents(whole.output)


def watch_redone(source: Path, output: Path, markers: set[Path]) -> set[Path]:
    """Ends the run, in this process; returns the tasks done before that were done again."""
    redone: set[Path] = set()
    finish = Task._finish

    def note(task: Task, *rest: Any) -> None:
        if (mark := task.file(task.mark)) in markers:
            redone.add(mark)
        finish(task, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Task, "_finish", note)
        deduplicate([SourceInput("s", str(source))], output, part_bytes=PART_BYTES)
    return redone


def test_killed_at_any_time_with_workers(tmp_path: Path) -> None:
    texts = [document.text for document in plant(30, 4, chinese=False, units=(60, 200))]
    source = write_source(tmp_path, "s", texts)
    whole = deduplicate([SourceInput("s", str(source))], tmp_path / "whole", part_bytes=PART_BYTES)
    program = (
        "import sys; from steel_megatron.corpus.dedup import SourceInput, deduplicate, run\nrun.BYTES_PER_WORKER = 1\n"
        "if __name__ == '__main__': deduplicate([SourceInput('s', sys.argv[1])], sys.argv[2], workers=2, "
        f"part_bytes={PART_BYTES})"
    )
    script = tmp_path / "run.py"
    script.write_text(program)
    output = tmp_path / "killed"
    for wait in (1.0, 2.0):
        process = subprocess.Popen([sys.executable, str(script), str(source), str(output)], start_new_session=True)
        time.sleep(wait)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = deduplicate([SourceInput("s", str(source))], output, part_bytes=PART_BYTES)
    assert contents(done.output) == contents(whole.output)
    assert json.loads((output / "report.json").read_bytes()) == whole.report
