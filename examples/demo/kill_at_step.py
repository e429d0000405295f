"""Runs a training command and kills it, all its processes at once, when it has finished a step.

SIGKILL cannot be caught: the processes have no time to save anything, as when a machine fails.

Usage: python examples/demo/kill_at_step.py --metrics RUN/metrics.jsonl --step N --record FILE -- COMMAND …
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from steel_megatron.training.output.metrics_rows import read_metrics

POLL_SECONDS = 0.05


def main() -> int:
    """Exit status 0 when the command was killed at the step; else the command's own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", required=True, type=Path, metavar="FILE", help="metrics.jsonl of the run")
    parser.add_argument("--step", required=True, type=int, metavar="N", help="kill when this step is done")
    parser.add_argument("--record", required=True, type=Path, metavar="FILE", help="copy of the metrics at the kill")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="what to run, behind --")
    args = parser.parse_args()
    process = subprocess.Popen(args.command, start_new_session=True)
    try:
        while process.poll() is None and last_step(args.metrics) < args.step:
            time.sleep(POLL_SECONDS)
        if process.poll() is not None:
            print(f"the training ended by itself before step {args.step}", file=sys.stderr)
            return process.returncode or 1
    finally:
        kill_all(process)
    shutil.copyfile(args.metrics, args.record)
    return 0


def last_step(metrics: Path) -> int:
    """The last step that stands in a metrics file; 0 when there is none."""
    rows = read_metrics(metrics) if metrics.is_file() else []
    return int(rows[-1]["step"]) if rows else 0


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the process and everything that it started. (torchrun's workers lead sessions of their own.)"""
    for pid in [process.pid, *descendants(process.pid)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, from /proc."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        children.setdefault(int(fields[1]), []).append(int(status.parent.name))
    found = list(children.get(pid, []))
    for child in found:
        found += children.get(child, [])
    return found


if __name__ == "__main__":
    sys.exit(main())
