"""A run of several processes, killed at random moments over and over, ends as if nothing had happened."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.curves import assert_same_checkpoint, curve
from helpers.tiny_run import run_config, start_ranks, train
from steel_megatron.checkpoint.store import PARTIAL, CheckpointStore
from steel_megatron.training.output.metrics_rows import read_metrics
from steel_megatron.training.startup.branches import Branches

SAVE_INTERVAL = 2
SEED = random.SystemRandom().randrange(2**32)


def last_step(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    rows = read_metrics(path) if path.exists() else []
    return rows[-1]["step"] if rows else 0


def half_written(folder: Path) -> set[tuple[str, int]]:
    """The half-written checkpoints and when something of each was last written."""
    found = set()
    for path in folder.glob(f"{PARTIAL}*"):
        try:
            found.add((path.name, path.stat().st_mtime_ns))
        except FileNotFoundError:  # just completed
            continue
    return found


class Ranks:
    """The processes of a run, about to be killed."""

    def __init__(self, processes: list[subprocess.Popen[bytes]], output: Path) -> None:
        self.processes = processes
        self.output = output

    def wait(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 180
        while not ready():
            assert all(process.poll() is None for process in self.processes), self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.0005)

    def send(self, number: signal.Signals) -> None:
        for process in self.processes:
            process.send_signal(number)

    def kill(self) -> None:
        """All at once: first they stop, so that none sees another die."""
        self.send(signal.SIGSTOP)
        self.send(signal.SIGKILL)
        assert [process.wait() for process in self.processes] == [-signal.SIGKILL] * len(self.processes)


def run_and_kill(kind: str, ranks: Ranks, folder: Path, choice: random.Random) -> None:
    """Kills while the run starts, at any moment of a step, or surely in the midst of a save."""
    leftover, done = half_written(folder), last_step(folder)
    if kind == "start":
        time.sleep(choice.uniform(0.0, 2.0))
        return ranks.kill()
    # Behind the next whole checkpoint, so that each life of the run brings it on.
    wanted = done + SAVE_INTERVAL + choice.randint(1, 2 * SAVE_INTERVAL)
    ranks.wait(lambda: last_step(folder) >= wanted)
    if kind == "step":
        time.sleep(choice.uniform(0.0, 0.1))
        return ranks.kill()
    while True:
        ranks.wait(lambda: bool(half_written(folder) - leftover))
        time.sleep(choice.uniform(0.0, 0.03))
        ranks.send(signal.SIGSTOP)
        if half_written(folder) - leftover:
            return ranks.kill()
        ranks.send(signal.SIGCONT)


def killed_again_and_again(tmp_path: Path, kinds: list[str], steps: int, processes: int, *layout: str) -> None:
    """Kills a run once per kind, in random order, lets it end, and compares it with a run that was left alone."""
    choice = random.Random(SEED)
    print(f"SEED = {SEED}")
    config = run_config(tmp_path, precision="bf16", save_interval=SAVE_INTERVAL, train_iters=steps, save_retain=3)
    train(config, "--save", str(tmp_path / "whole"), *layout, processes=processes)
    cut, output = tmp_path / "cut", tmp_path / "output"
    choice.shuffle(kinds)
    newest = None
    for kind in kinds:
        started = start_ranks(config, "--save", str(cut), *layout, processes=processes, output=output)
        run_and_kill(kind, Ranks(started, output), cut, choice)
        print(f"{kind}: killed after step {last_step(cut)}, checkpoints {CheckpointStore(cut).steps()}")
        assert last_step(cut) < steps
        if newest is not None and kind != "start":
            assert f"continuing {cut}, step {newest}\n" in output.read_text()
        newest = CheckpointStore(cut).newest()
    assert newest is not None
    assert f"continuing {cut}, step {newest}\n" in train(config, "--save", str(cut), *layout, processes=processes)
    assert curve(cut) == curve(tmp_path / "whole")
    assert_same_checkpoint(tmp_path / "whole", cut, steps)


def test_three_kills_leave_no_trace(tmp_path: Path) -> None:
    killed_again_and_again(tmp_path, ["start", "step", "save"], 40, 2)


@pytest.mark.slow
def test_twenty_kills_leave_no_trace(tmp_path: Path) -> None:
    layout = ["--tensor-model-parallel-size", "2", "--sequence-parallel", "--pipeline-model-parallel-size", "2"]
    killed_again_and_again(tmp_path, ["start"] * 4 + ["step"] * 8 + ["save"] * 8, 400, 4, *layout)


@pytest.mark.slow
def test_kills_around_going_back_leave_no_trace(tmp_path: Path) -> None:
    """The command that goes back is repeated after each kill, as a scheduler does; the branch is what it should be."""
    choice = random.Random(SEED)
    print(f"SEED = {SEED}")
    config = run_config(tmp_path, precision="bf16", save_interval=SAVE_INTERVAL, train_iters=60, save_retain=3)
    train(config, "--save", str(tmp_path / "whole"), processes=2)
    cut, output = tmp_path / "cut", tmp_path / "output"
    save = ["--save", str(cut)]
    train(config, *save, "--exit-interval", "8", processes=2)
    train(config, *save, "--lr", "0.1", "--save-retain", "9", "--exit-interval", "15", processes=2)
    for kind in ["start", "start", "start", "step", "save"]:
        started = start_ranks(config, *save, "--ckpt-step", "8", processes=2, output=output)
        run_and_kill(kind, Ranks(started, output), cut, choice)
        print(f"{kind}: killed after step {last_step(cut)}, checkpoints {CheckpointStore(cut).steps()}")
    train(config, *save, "--ckpt-step", "8", processes=2)
    assert curve(cut) == curve(tmp_path / "whole")
    assert_same_checkpoint(tmp_path / "whole", cut, 60)
    assert CheckpointStore(cut / "set_aside" / "after_step_0000008").steps() == [10, 12, 14, 15]
    assert len(Branches(cut).entries()) == 1
