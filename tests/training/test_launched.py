"""Runs as the launch scripts start them: a signal to torchrun, or its end, leaves a whole checkpoint and no process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import slow_train
from helpers.tiny_run import environment, run_config
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.training.output.lock import FolderLock
from steel_megatron.training.output.metrics_rows import read_metrics

ROOT = Path(__file__).parents[2]
LOCAL = ("--standalone", "--local-addr", "127.0.0.1")
START = 'source examples/pretrain_1b/common.sh; start_training "$@"'


def launch(folder: Path, *flags: str, script: bool, step_seconds: float = 2, save_seconds: float = 4, **more: str):
    """Two processes with slow steps and saves; by ``start_training``, or by torchrun with its own defaults."""
    torchrun = [*LOCAL, "--nproc-per-node", "2"]
    torchrun += [str(slow_train.__file__), str(step_seconds), str(save_seconds)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", "-c", START if script else 'exec torchrun "$@"', "start", *torchrun, *flags],
        cwd=ROOT,
        stdout=(folder / "output").open("w"),
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **environment(),
            "PATH": path,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
            "SMOKE_FOLDER": "",
            **more,
        },
    )


def installed(folder: Path) -> str:
    """PYTHONPATH on which the package is installed, so that torchrun finds its plugin."""
    facts = folder / "installed" / "steel_plugin-0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: steel_plugin\nVersion: 0\n")
    handler = "steel_megatron.parallel.torchrun:handler"
    (facts / "entry_points.txt").write_text(f"[torchrun.handlers]\nsteel_megatron = {handler}\n")
    return f"{ROOT}{os.pathsep}{facts.parent}"


def torchrun(folder: Path, *words: str, path: str, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """``torchrun WORDS -m steel_megatron train`` on the tiny run in ``folder``."""
    start = [*before, sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *words]
    return subprocess.Popen(
        [*start, "-m", "steel_megatron", "train", "--config", str(folder / "run.yaml")],
        cwd=folder,
        stdout=(folder / "output").open("w"),
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment(), "PYTHONPATH": path},
    )


def workers(started: subprocess.Popen[str]) -> list[int]:
    """The processes that torchrun has started, by rank."""
    found = {}
    for process in Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            found.update({int(word[5:]): int(process) for word in variables if word.startswith(b"RANK=")})
    return [found[rank] for rank in sorted(found)]


def text_of(folder: Path) -> str:
    return (folder / "output").read_text()


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


def test_a_second_run_on_a_folder_says_one_thing_once(tmp_path):
    """To the terminal that starts it, whatever the number of processes and of restarts."""
    run_config(tmp_path)
    lock = FolderLock(tmp_path / "run")
    started = torchrun(
        tmp_path, "--standalone", "--local-addr", "127.0.0.1", "--max-restarts", "2", path=installed(tmp_path)
    )
    assert started.wait(120) == 1
    lock.release()
    output = text_of(tmp_path)
    assert output.count("error: ") == 1, output
    assert f"error: {tmp_path}/run is in use by process {os.getpid()}\n  rule: " in output
    assert "leaves:" not in output
    assert "Traceback" not in output
    assert re.search(r"torchrun: rank [01] on .* ended with status 2\n", output)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.skipif(
    subprocess.run(["unshare", "-u", "true"], capture_output=True).returncode != 0, reason="unshare needs root"
)
def test_a_machine_whose_name_leads_nowhere_trains(tmp_path):
    run_config(tmp_path, train_iters=4, eval_iters=0)
    rename = ("unshare", "-u", "bash", "-c", 'hostname no-such-host-4711 && exec "$@"', "start")
    started = torchrun(tmp_path, "--standalone", path=installed(tmp_path), before=rename)
    assert started.wait(120) == 0, text_of(tmp_path)
    assert "no-such-host-4711 is no address of this machine: --local-addr 127.0.0.1 is added" in text_of(tmp_path)
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == 4


def test_a_rank_that_stops_is_named_with_its_last_operation(tmp_path):
    run_config(tmp_path, train_iters=1_000_000, eval_iters=0, distributed_timeout_minutes=0.1, save_interval=1_000_000)
    started = torchrun(tmp_path, *LOCAL, path=str(ROOT))
    wait_for("step   ", tmp_path)
    time.sleep(2.5)  # so that each rank has said once what it is at in a step
    stopped = workers(started)[1]
    os.kill(stopped, signal.SIGSTOP)
    assert started.wait(60) == 1
    output = text_of(tmp_path)
    assert f"error: rank 1 on {socket.gethostname()} (process {stopped}) does not answer; at " in output, output
    assert re.search(r"the last time that it did, it was at [a-z -]+ over \w+ \(ranks 0, 1\), step \d+", output)
    assert re.search(r"waiting, since \d+ s: rank 0 in [a-z -]+ over \w+ \(ranks 0, 1\), step \d+", output)
    assert "rule: a collective ends within --distributed-timeout-minutes 0.1" in output
    assert not Path(f"/proc/{stopped}/stat").exists()  # nor is it left behind


def test_a_run_that_loses_a_process_goes_on_by_itself(tmp_path):
    config = run_config(tmp_path, eval_iters=0, save_interval=2, train_iters=8)
    started = launch(tmp_path, "--config", str(config), script=True, step_seconds=0.5, save_seconds=0, MAX_RESTARTS="1")
    wait_for("step 4/8", tmp_path)
    os.kill(workers(started)[1], signal.SIGKILL)
    assert started.wait(120) == 0, text_of(tmp_path)
    assert re.search(r"continuing .*run, step [24]", text_of(tmp_path))
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [*range(1, 9)]


def test_ctrl_c_twice_ends_torchrun_and_its_processes_at_once(tmp_path):
    config = run_config(tmp_path, eval_iters=0, save_interval=1000, train_iters=1000)
    started = launch(tmp_path, "--config", str(config), script=False, step_seconds=30)
    wait_for("data: 1 sources", tmp_path)
    time.sleep(1)
    left = workers(started)
    started.send_signal(signal.SIGINT)
    wait_for("got SIGINT", tmp_path)
    time.sleep(1)
    started.send_signal(signal.SIGINT)
    started.wait(20)
    deadline = time.monotonic() + 15
    while any(Path(f"/proc/{process}").exists() for process in left):
        assert time.monotonic() < deadline, text_of(tmp_path)
        time.sleep(0.1)
    assert not CheckpointStore(tmp_path / "run").steps()
