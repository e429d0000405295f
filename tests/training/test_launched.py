"""Runs as the launch scripts start them: a signal to torchrun, or its end, leaves a whole checkpoint and no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import slow_train
from helpers.tiny_run import environment, run_config
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.training.metrics_rows import read_metrics

ROOT = Path(__file__).parents[2]
START = 'source examples/pretrain_1b/common.sh; start_training "$@"'


def launch(folder: Path, *flags: str, script: bool) -> subprocess.Popen[str]:
    """Two processes with steps of 2 s and saves of 4 s; by ``start_training``, or by torchrun with its own defaults."""
    torchrun = [
        "--standalone",
        "--local-addr",
        "127.0.0.1",
        "--nproc-per-node",
        "2",
        str(slow_train.__file__),
        "2",
        "4",
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", "-c", START if script else 'exec torchrun "$@"', "start", *torchrun, *flags],
        cwd=ROOT,
        stdout=(folder / "output").open("w"),
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment(), "PATH": path, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "SMOKE_FOLDER": ""},
    )


def wait_for(what: str, folder: Path, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while what not in (folder / "output").read_text():
        assert time.monotonic() < deadline, (folder / "output").read_text()[-4000:]
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("script", "number"),
    [
        pytest.param(True, signal.SIGUSR1, id="passed on by the launch script"),
        pytest.param(False, signal.SIGUSR1, id="that kills torchrun"),
    ],
)
def test_a_signal_to_torchrun_leaves_a_whole_checkpoint_within_one_step(tmp_path, script, number):
    config = run_config(tmp_path, eval_iters=0, save_interval=1000, train_iters=1000)
    started = launch(tmp_path, "--config", str(config), script=script)
    wait_for("step    2/1000", tmp_path)
    started.send_signal(number)
    wait_for("saved ", tmp_path)
    assert started.wait(60) == (1 if script else -number)
    run = tmp_path / "run"
    newest = CheckpointStore(run).newest()
    assert newest in (2, 3)  # the signal came while step 2 was read, or in step 3
    assert newest == read_metrics(run / "metrics.jsonl")[-1]["step"]
    output = (tmp_path / "output").read_text()
    assert ("got SIGUSR1" if script else "torchrun is gone") in output
    assert script or "Traceback" not in output  # torchrun prints one for a signal that it handles
    assert not list(run.glob(".partial_*"))
