"""Each compiled kernel beside torch's operation, torch.compile and a copy, in one run.

    python benchmarks/kernels.py [--device cpu|cuda] [--tokens N] [--hidden N] [--vocab-size N] [--json FILE]

Contenders take turns and the fastest round counts: what makes a round slower is other programs. GB/s counts the bytes
that an operation must read and write at least once (``kernel_cases.py`` says which); "of copy" is that against copying
a tensor as large as the MLP's input, in the same run, and is marked where it reaches 85 %. On a GPU the calls are
replayed from a CUDA graph, so that the device's time counts. Forward operations run without autograd; "backward" is
the backward pass alone.

The first table has the head's matmul with the cross entropy, forward and backward, against the three bare matmuls: the
aim is 1.15 times their time and less than 1 GB of extra memory at 16k tokens and a vocabulary of 152k.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import json
import math
import platform
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from kernel_cases import CASES, Case, Shape
from kernel_head import Head
from kernel_head import measure as measure_head
from kernel_head import table as head_table
from kernel_timing import fastest

from steel_megatron.ops.backends import use_kernel_backend
from steel_megatron.ops.native import library

ENOUGH = 0.85  # of the copy's bandwidth
CONTENDERS = ("steel", "torch", "compile")
# tokens, hidden, ffn, vocabulary; vocabulary of the head with cross entropy
DEFAULTS = {"cpu": (2048, 320, 896, 8192, 65536), "cuda": (16384, 2048, 5632, 32000, 151936)}


def run_cases(shape: Shape, args: argparse.Namespace, deadline: float) -> list[dict[str, Any]]:
    """A row of figures per case; the tensors of one operation are gone before the next."""
    rows: list[dict[str, Any]] = []
    copy_speed = 0.0
    for cases_of in CASES:
        if time.monotonic() > deadline:
            print(f"| {cases_of.__name__} and what follows: out of time |" + " |" * 6)
            break
        for case in made(cases_of, shape):
            if copy_speed and not re.search(args.only, case.name):
                continue
            if args.no_compile:
                case.calls.pop("compile", None)
            # The copy is what all are held against: it must not have had bad luck.
            row = figures(case, *fastest(case.calls, shape.device, args.rounds if copy_speed else 5 * args.rounds))
            copy_speed = copy_speed or row["GB/s"]
            rows.append(row | {"of copy": row["GB/s"] / copy_speed})
            print(line(rows[-1]), flush=True)
            del case
        gc.collect()
        if shape.device == "cuda":
            torch.cuda.empty_cache()
    return rows


def made(cases_of: Callable[[Shape], list[Case]], shape: Shape) -> list[Case]:
    """The cases of an operation; none, with a line that says why, where making them fails."""
    try:
        return cases_of(shape)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"| {cases_of.__name__}: {reason} |" + " - |" * 6, flush=True)
        return []


def figures(case: Case, seconds: dict[str, float], failed: dict[str, str]) -> dict[str, Any]:
    """Speed of our kernel, or of torch's where we have none; 0 where neither ran."""
    own = seconds.get("steel") or seconds.get("torch")
    others = [value for name, value in seconds.items() if name != "steel"]
    return {
        "operation": case.name,
        "seconds": seconds,
        "failed": failed,
        "GB/s": case.moved / own / 1e9 if own else 0.0,
        "against the better": min(others) / seconds["steel"] if others and "steel" in seconds else None,
    }


def line(row: dict[str, Any]) -> str:
    """Markdown."""
    seconds = row["seconds"]
    times = " | ".join(f"{seconds[name] * 1e3:.3f}" if name in seconds else "-" for name in CONTENDERS)
    ratio = f"{row['against the better']:.2f} ×" if row["against the better"] else "-"
    enough = " ✓" if row["of copy"] >= ENOUGH else ""
    return f"| {row['operation']} | {times} | {ratio} | {row['GB/s']:.1f} | {row['of copy']:.0%}{enough} |"


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    found.add_argument("--tokens", type=int, help="default 2048 on a CPU, 16384 on a GPU")
    found.add_argument("--hidden", type=int, help="default 320 on a CPU, 2048 on a GPU")
    found.add_argument("--ffn", type=int, help="default 896 on a CPU, 5632 on a GPU")
    found.add_argument("--vocab-size", type=int, help="of the cross entropy; default 8192 on a CPU, 32000 on a GPU")
    found.add_argument("--head-vocab-size", type=int, help="of the head; default 65536 on a CPU, 151936 on a GPU")
    found.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    found.add_argument("--rounds", type=int, default=20, help="default 20; of the head a quarter of it")
    found.add_argument(
        "--only", metavar="PATTERN", default="", help="operations whose name has this regular expression"
    )
    found.add_argument("--no-compile", action="store_true", help="without torch.compile, which takes most of the time")
    found.add_argument("--time-limit", type=float, metavar="SECONDS", help="no further operation is begun after it")
    found.add_argument("--json", type=Path, help="write the figures there as well")
    return found


def main() -> int:
    args = parser().parse_args()
    if not library.built(args.device):
        print(f"the kernels for {args.device} were not built", file=sys.stderr)
        return 1
    given = (args.tokens, args.hidden, args.ffn, args.vocab_size, args.head_vocab_size)
    tokens, hidden, ffn, vocab, head_vocab = (
        default if value is None else value for value, default in zip(given, DEFAULTS[args.device], strict=True)
    )
    deadline = time.monotonic() + args.time_limit if args.time_limit else math.inf
    dtype = getattr(torch, args.dtype)
    if not args.no_compile:
        from torch._functorch import config

        config.donated_buffer = False  # compiled backward passes are run again and again
    card = torch.cuda.get_device_name() if args.device == "cuda" else f"{platform.machine()} CPU"
    about = f"torch {torch.__version__}, {card}, {torch.get_num_threads()} CPU threads, {args.dtype}"
    print(
        f"`{shlex.join(['python', *sys.argv])}`; {about}; tokens {tokens}, hidden {hidden}, ffn {ffn}, "
        f"vocabulary {vocab}\n"
    )
    # CUDA graphs are not recorded in the default stream.
    stream = torch.cuda.stream(torch.cuda.Stream()) if args.device == "cuda" else contextlib.nullcontext()
    with stream, torch.no_grad():
        head = []
        if re.search(args.only, "head and cross entropy"):
            inputs = Head.random(args.device, tokens, hidden, head_vocab, dtype)
            head = measure_head(inputs, max(args.rounds // 4, 1), not args.no_compile, deadline)
            del inputs
            print(f"Head and cross entropy: {tokens} tokens, vocabulary {head_vocab}.\n\n{head_table(head)}\n")
        print(
            "| operation | steel, ms | torch, ms | torch.compile, ms | against the better | GB/s | of copy |\n"
            "| --- | --- | --- | --- | --- | --- | --- |"
        )
        use_kernel_backend("steel", args.device)  # the head's contenders set their own
        rows = run_cases(Shape(args.device, tokens, hidden, ffn, vocab, dtype), args, deadline)
        for row in rows:
            for name, reason in row["failed"].items():
                print(f"\n{row['operation']}, {name}: {reason}")
    if args.json:
        result = {
            "about": about,
            "shape": {"tokens": tokens, "hidden": hidden, "ffn": ffn, "vocab": vocab, "head vocab": head_vocab},
            "rows": rows,
            "head": [dataclasses.asdict(row) for row in head],
        }
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
