"""A request to stop, whenever it comes, is heeded at once: no validation, a whole checkpoint, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from helpers import slow_train
from helpers.tiny_run import environment, run_config
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.training.callbacks import exits
from steel_megatron.training.output.metrics_rows import read_metrics

ROOT = Path(__file__).parents[2]


def with_signals() -> None:
    """In a new process: as in a terminal, also where these tests run in a shell's background, which ignores SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def started(tmp_path: Path, step_seconds: float, **knobs: object) -> subprocess.Popen[str]:
    config = run_config(tmp_path, eval_iters=0, save_interval=1000, train_iters=1000, **knobs)
    command = [sys.executable, str(slow_train.__file__), str(step_seconds), "0", "--config", str(config)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment(), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        preexec_fn=with_signals,
    )


def read_until(process: subprocess.Popen[str], what: str) -> None:
    assert process.stdout is not None
    text = ""
    while what not in text:
        line = process.stdout.readline()
        assert line, text
        text += line


def test_ctrl_c_saves_and_leaves(tmp_path):
    process = started(tmp_path, 0.5)
    read_until(process, "step    2/1000")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in output) == (0, False), output
    assert "got SIGINT: saving after this step, then leaving" in output
    assert CheckpointStore(tmp_path / "run").newest() == read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["step"]


def test_ctrl_c_twice_leaves_at_once(tmp_path):
    process = started(tmp_path, 60)
    read_until(process, "data: 1 sources")
    time.sleep(1)  # the first step has begun
    process.send_signal(signal.SIGINT)
    read_until(process, "got SIGINT")
    time.sleep(2 * exits.SECOND_THOUGHTS)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - asked < 20
    assert (process.returncode, "Traceback" in output) == (130, False), output
    assert "interrupted" in output
    assert CheckpointStore(tmp_path / "run").steps() == []


def test_ctrl_c_while_the_program_starts_is_no_traceback(tmp_path):
    command = [sys.executable, "-m", "steel_megatron", "train", "--config", str(run_config(tmp_path))]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=subprocess.STDOUT, text=True, preexec_fn=with_signals
    )
    while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():  # the command is being loaded
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, "interrupted\n")


IN_A_LIBRARY = """
import ctypes, types
from steel_megatron.config import TrainingConfig
from steel_megatron.training.callbacks.exits import Exits
Exits(TrainingConfig(), 0.0).on_start(types.SimpleNamespace(stop_request=""))
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
print("ready", flush=True)
libc.pthread_mutex_lock(mutex)  # for ever, and no handler of Python's runs
"""


def test_ctrl_c_twice_reaches_a_process_that_hangs_in_a_library(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", IN_A_LIBRARY],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=with_signals,
    )
    read_until(process, "ready")
    process.send_signal(signal.SIGINT)
    time.sleep(2 * exits.SECOND_THOUGHTS)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (130, "interrupted again: leaving at once, unsaved\n")
