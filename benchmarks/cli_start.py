"""How long a command takes to answer, beside a Python that does nothing and one that only imports torch.

    python benchmarks/cli_start.py [--rounds N]

Each round starts every program once, in a process of its own whose bytecode is cached. CPU time is user and system
together; a table of medians is printed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

STEEL = ("-m", "steel_megatron")
PROGRAMS: dict[str, tuple[str, ...]] = {
    "python -c pass": ("-c", "pass"),
    'python -c "import torch"': ("-c", "import torch"),
    "steel --help": (*STEEL, "--help"),
    "steel train --help": (*STEEL, "train", "--help"),
    "steel plan --preset steel_1b": (*STEEL, "plan", "--preset", "steel_1b"),
}


def seconds(arguments: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU time of one process.

    Raises:
        RuntimeError: it failed.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"python {shlex.join(arguments)} ended with {process.returncode}")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime


def table(times: dict[str, list[tuple[float, float]]]) -> str:
    """A row per program: medians, and what its CPU time is above that of the first."""
    lines = ["| program | wall, s | CPU, s | CPU above the first, s |", "| --- | --- | --- | --- |"]
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    nothing = next(iter(medians.values()))[1]
    lines += [f"| {name} | {wall:.2f} | {cpu:.2f} | {cpu - nothing:.2f} |" for name, (wall, cpu) in medians.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    for arguments in PROGRAMS.values():
        seconds(arguments)  # writes the bytecode, and reads the files into memory
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, arguments in PROGRAMS.items():
            times[name].append(seconds(arguments))
    print(f"medians of {rounds} rounds; `python {shlex.join(sys.argv)}`\n\n{table(times)}")


if __name__ == "__main__":
    main()
