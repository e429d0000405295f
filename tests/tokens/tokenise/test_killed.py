"""A tokenising run that is killed, or loses a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.json_lines import write_lines
from helpers.sample_texts import TEXTS
from helpers.small_tokenizer import small_tokenizer

CONTENT_BYTES = 3_000_000


class Run:
    """``steel tokenize`` in the midst of its work: it reads from a pipe that has no end until it is closed."""

    def __init__(self, folder: Path, workers: int) -> None:
        small_tokenizer(folder / "tokenizer")
        write_lines(folder / "text.jsonl", [text * 9 for text in TEXTS.values()] * 100)
        content = (folder / "text.jsonl").read_bytes()
        content *= CONTENT_BYTES // len(content) + 1
        (folder / "whole.jsonl").write_bytes(content)
        os.mkfifo(folder / "pipe.jsonl")
        self.prefix = folder / "out" / "x"
        self.folder = folder
        self.process = subprocess.Popen(
            self.command("pipe.jsonl", workers),
            stderr=subprocess.PIPE,
            text=True,
            # A shell's background job, as CI may be, ignores SIGINT, and its children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.pipe = open(folder / "pipe.jsonl", "wb", buffering=0)  # noqa: SIM115  # closed by the fixture
        self.pipe.write(content)  # returns when all but the pipe's own 64 kB is read

    def command(self, name: str, workers: int) -> list[str]:
        words = ["tokenize", "--input", f"{self.folder}/{name}", "--tokenizer-model", f"{self.folder}/tokenizer"]
        words += ["--output-prefix", str(self.prefix), f"--workers={workers}"]
        return [sys.executable, "-m", "steel_megatron", *words]

    def workers(self) -> list[int]:
        return workers_of(self.process.pid)

    def names(self) -> set[str]:
        return {path.name for path in self.prefix.parent.iterdir()}


@pytest.fixture
def start(tmp_path):
    runs = []

    def start(workers: int) -> Run:
        runs.append(Run(tmp_path, workers))
        return runs[-1]

    yield start
    for run in runs:
        run.pipe.close()
        run.process.kill()
        run.process.communicate()


def workers_of(process_id: int) -> list[int]:
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def gone(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never came")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_leaves_nothing_that_looks_complete(start, workers):
    run = start(workers)
    children = run.workers()
    assert len(children) == (workers if workers > 1 else 0)
    run.process.kill()
    run.process.wait()
    assert run.names()
    assert all(name.endswith(".partial") for name in run.names())
    wait_until(lambda: all(gone(child) for child in children))
    # The next run does the whole work and clears up.
    subprocess.run(run.command("whole.jsonl", 1), check=True, capture_output=True)
    assert run.names() == {f"x_text_document.{end}" for end in ("bin", "idx", "manifest.json")}


def test_what_was_killed_before_its_manifest_is_done_again(start):
    run = start(1)
    run.process.kill()
    subprocess.run(run.command("whole.jsonl", 1), check=True, capture_output=True)
    manifest = Path(f"{run.prefix}_text_document.manifest.json")
    os.replace(manifest, f"{manifest}.partial")  # as it is for a moment at the end of a run
    again = subprocess.run(run.command("whole.jsonl", 1), check=True, capture_output=True, text=True)
    assert "nothing to do" not in again.stdout
    assert run.names() == {f"x_text_document.{end}" for end in ("bin", "idx", "manifest.json")}


def test_a_lost_worker_is_an_error_that_names_the_input(start):
    run = start(2)
    os.kill(run.workers()[0], signal.SIGKILL)
    run.pipe.close()
    _, errors = run.process.communicate(timeout=120)
    assert run.process.returncode == 2
    assert "a worker process died (SIGKILL) while it had" in errors
    assert run.names() == set()


def test_an_interrupted_run_takes_its_files_away(start):
    run = start(2)
    children = run.workers()
    run.process.send_signal(signal.SIGINT)
    run.process.communicate(timeout=120)
    assert run.process.returncode != 0
    assert run.names() == set()
    wait_until(lambda: all(gone(child) for child in children))
