"""Chooses the demo's precision and length from a few real steps, so that it ends in the time it has.

probe.py trains in the demo's own layout, in fp32 and in bf16; the faster is taken, and as many steps as fit. Where not
even a short run fits, the sequences and the model become smaller. What was chosen is written as shell variables, so
that the same command goes on with the same run later.

Usage: python examples/demo/choose_run.py --output FILE --folder DIR --deadline SECONDS -- torchrun … probe.py …
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kill_at_step import kill_all

from steel_megatron.training.output.metrics_rows import read_metrics

MOST_STEPS = 240  # enough to see the loss fall; a fast machine is done early
FEW_STEPS = 40  # for less than that a smaller run is taken
LEAST_STEPS = 16
PROBE_STEPS = 3  # the first warms up
PROBE_LIMIT = 45.0  # seconds for the steps of one precision
LEAST_PATIENCE = 10.0  # seconds in which nothing happened, before a precision is given up
PARTS = 8  # so many checkpoints and validations has a run
CERTAIN = 0.8  # of the time left is planned with: on a busy machine training took a seventh longer than the probe told
FORWARD = 0.4  # of a step is a forward pass over the same tokens
POLL_SECONDS = 0.1


class Size(NamedTuple):
    """A run's size; ``cost`` is what a step takes beside that of the full size, on the safe side."""

    seq_length: int
    num_layers: int
    cost: float


# The full size first. A step's time falls by less than its tokens: messages and start-up of kernels stay.
SIZES = (Size(256, 8, 1.0), Size(128, 8, 0.6), Size(64, 4, 0.25))


class Measured(NamedTuple):
    """Seconds of a step and of a checkpoint in one precision."""

    precision: str
    step: float
    save: float


class Choice(NamedTuple):
    """What is trained; ``seconds`` is how long that should take, without the processes' start."""

    precision: str
    steps: int
    size: Size
    seconds: float


def main() -> int:
    """Writes the choice and prints why."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="shell variables to write")
    parser.add_argument("--folder", required=True, type=Path, metavar="DIR", help="the probe's; made and removed")
    parser.add_argument("--deadline", required=True, type=float, metavar="SECONDS", help="end of the demo, since 1970")
    parser.add_argument("--steps", type=int, metavar="N", help="train so many, however long that takes")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], help="what to try")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="starts probe.py, behind --")
    args = parser.parse_args()
    if args.steps is not None and len(args.precisions) == 1:
        print(f"{args.precisions[0]} and {args.steps} steps, as asked for")
        write(Choice(args.precisions[0], args.steps, SIZES[0], 0.0), args.output)
        return 0
    shutil.rmtree(args.folder, ignore_errors=True)
    begun = time.time()
    measured, started = probe(args.command, args.folder, args.precisions)
    shutil.rmtree(args.folder, ignore_errors=True)
    if not measured:
        print("error: the probe trained no step; what it printed stands above", file=sys.stderr)
        return 1
    start_seconds = max(started - begun, 1.0)
    # Two starts are to come, then export and generation, which load transformers twice.
    left = CERTAIN * (args.deadline - time.time() - 2 * start_seconds - (15.0 + start_seconds))
    choice = choose(measured, left, args.steps)
    for line in reasons(measured, choice, start_seconds, left):
        print(line)
    write(choice, args.output)
    return 0


def probe(command: Sequence[str], folder: Path, precisions: Sequence[str]) -> tuple[list[Measured], float]:
    """Runs the probe; returns what it measured, and when (seconds since 1970) its first step began.

    A precision that takes longer than the limit is measured by the steps that it has made, and the probe killed; one
    that has made none, where another has, is left out: it is far slower.
    """
    flags = ["--precisions", *precisions, "--save", str(folder), "--train-iters", str(PROBE_STEPS)]
    folder.mkdir(parents=True)
    log = folder / "output.txt"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [*command, *flags, "--log-interval", "1"], stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    since = time.time()
    seen = 0
    try:
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
            count = len(ended(folder)) + sum(len(rows(folder, precision)) for precision in precisions)
            if count > seen or not any((folder / precision).is_dir() for precision in precisions):
                seen, since = count, time.time()  # it moves, or the processes are still starting
            done = [row["step_seconds"] for precision in precisions for row in rows(folder, precision)]
            if done and time.time() - since > min(PROBE_LIMIT, max(LEAST_PATIENCE, 8 * max(done))):
                print("the next precision is far slower: not waited for")
                break
    finally:
        kill_all(process)
    if process.returncode > 0:
        print(log.read_text(encoding="utf-8", errors="replace"), file=sys.stderr)
    found = []
    for precision in precisions:
        steps = [float(row["step_seconds"]) for row in rows(folder, precision)]
        if steps:
            saves = [line["ended"] - line["stepped"] for line in ended(folder) if line["precision"] == precision]
            kept = steps[1:] or steps
            found.append(Measured(precision, sum(kept) / len(kept), max([0.0, *saves])))
    begun = [line["begun"] for line in ended(folder)]
    return found, min(begun, default=time.time())


def rows(folder: Path, precision: str) -> list[dict[str, Any]]:
    """Metrics of the steps that one precision has made so far."""
    path = folder / precision / "metrics.jsonl"
    return read_metrics(path) if path.is_file() else []


def ended(folder: Path) -> list[dict[str, Any]]:
    """What the probe wrote at the end of each precision."""
    path = folder / "ended.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def choose(measured: Sequence[Measured], left: float, steps: int | None = None) -> Choice:
    """The faster precision, the largest size for which a run of some length fits, and its length.

    Args:
        left: seconds for training.
        steps: train so many at full size, whatever it takes.
    """
    best = min(measured, key=lambda one: one.step)
    if steps is not None:
        return Choice(best.precision, steps, SIZES[0], seconds(steps, best.step, best.save))
    for size in SIZES:
        step = best.step * size.cost
        fitting = [count for count in range(LEAST_STEPS, MOST_STEPS + 1) if seconds(count, step, best.save) <= left]
        count = max(fitting, default=LEAST_STEPS)
        if count >= FEW_STEPS or size is SIZES[-1]:
            return Choice(best.precision, count, size, seconds(count, step, best.save))
    raise AssertionError("the last size is always taken")


def seconds(steps: int, step: float, save: float) -> float:
    """What a killed and resumed run of so many steps takes: its steps, some of them twice, validations, checkpoints."""
    twice = kill_step(steps) - steps // 2 + log_interval(steps)
    return (steps + twice) * step + PARTS * (eval_iters(steps) * FORWARD * step + save)


def kill_step(steps: int) -> int:
    """Some steps behind a checkpoint."""
    return PARTS // 2 * (steps // PARTS) + steps // 20 + 1


def log_interval(steps: int) -> int:
    """Steps between two lines: a kill must find a line between two checkpoints."""
    return max(1, steps // 40)


def eval_iters(steps: int) -> int:
    """Batches of a validation: of a short run it should not be the larger part."""
    return 4 if steps >= 120 else 1


def reasons(measured: Sequence[Measured], choice: Choice, start_seconds: float, left: float) -> list[str]:
    """What was measured and chosen, for the reader."""
    times = ", ".join(f"{one.precision} {one.step:.2f} s" for one in measured)
    lines = [f"a step takes: {times}; the processes take {start_seconds:.0f} s to start"]
    lines.append(
        f"chosen: {choice.precision}, {choice.steps} steps, which take about {choice.seconds:.0f} s; "
        f"training may take {max(left, 0):.0f} s"
    )
    if choice.size is not SIZES[0]:
        lines.append(
            f"this machine is slow: sequences of {choice.size.seq_length} tokens instead of {SIZES[0].seq_length}, "
            f"{choice.size.num_layers} layers of {SIZES[0].num_layers}"
        )
    if choice.seconds > left:
        lines.append("that is longer than the time that is left; DEMO_STEPS and DEMO_MINUTES change either")
    return lines


def write(choice: Choice, path: Path) -> None:
    """The choice as shell variables, whole or not at all."""
    values = {
        "PRECISION": choice.precision,
        "STEPS": choice.steps,
        "SEQ_LENGTH": choice.size.seq_length,
        "NUM_LAYERS": choice.size.num_layers,
        "EVAL_ITERS": eval_iters(choice.steps),
        "INTERVAL": choice.steps // PARTS,
        "LOG_INTERVAL": log_interval(choice.steps),
        "KILL_STEP": kill_step(choice.steps),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
    os.replace(partial, path)


if __name__ == "__main__":
    sys.exit(main())
