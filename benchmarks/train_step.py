"""Tokens per second, MFU and peak memory of a whole training step against peers, in one run.

    python benchmarks/train_step.py [--preset NAME] [--vocab-size N] [--micro-batch-size N|auto] [--seq-length N]

Each contender does forward, backward, gradient clipping and an AdamW step, in a process of its own. On a CPU
all processes are there at once and take turns, so that a slow moment of the machine hits all alike. On a GPU one runs
after the other with the whole card, and the first is timed again at the end: its last row shows how far the card has
drifted. Figures are medians over rounds; "against the first" compares tokens per second with the first row.

Peers: ``transformers`` with its best attention (FlashAttention-2 where installed, else SDPA), pure bf16 and bf16
autocast over fp32 weights, each with torch's fused AdamW; the same patched by Liger-Kernel; with ``--compile`` the
first under torch.compile, and the same shape in plain torch under torch.compile. Pure-bf16 peers keep neither fp32
masters nor fp32 gradients, so they do less work than ours. On a CPU fp32 takes part as well, and bf16 where the CPU has
instructions for it: the last line compares the fastest of each, so that a ratio is honest on any machine. Ours is the
trainer's own step, with its data loader.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from step_contender import Setting
from step_profile import markdown
from step_table import Row, Yardstick, as_json, best_against, table
from step_worker import CONTENDERS, OUT_OF_MEMORY, OUT_OF_TIME, Worker

from steel_megatron.config import RunConfig, load_run_config
from steel_megatron.model.flops import model_flops
from steel_megatron.training.callbacks.throughput import device_peak_tflops

AUTO = [16, 8, 4, 2, 1]
SMALL = {
    "num_layers": 8,
    "hidden_size": 320,
    "ffn_hidden_size": 896,
    "num_attention_heads": 10,
    "num_query_groups": 5,
    "seq_length": 512,
}


def configuration(args: argparse.Namespace) -> RunConfig:
    """The preset, or about 16 M parameters in Llama's style."""
    given = {"vocab_size": args.vocab_size, "seq_length": args.seq_length}
    config = load_run_config(preset=args.preset, overrides={} if args.preset else SMALL)
    config = config.replace(**{name: value for name, value in given.items() if value})
    return config.replace(vocab_size=config.model.vocab_size or 8192)


def chosen(args: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    """(Contenders to run, why the others that were asked for do not)."""
    found, left_out = [], {}
    for name, contender in CONTENDERS.items():
        if args.only and not re.search(args.only, name):
            continue
        reason = contender.missing(args.device)
        if not reason and contender.slow_start and args.device == "cpu" and not args.compile:
            reason = "minutes of compilation: --compile"
        if reason:
            left_out[name] = reason
        else:
            found.append(name)
    return found, left_out


class Run:
    """Times contenders and keeps their rows."""

    def __init__(self, setting: Setting, args: argparse.Namespace) -> None:
        self.setting = setting
        self.sizes = AUTO if args.micro_batch_size == "auto" else [int(args.micro_batch_size)]
        self.rounds, self.steps = args.rounds, args.steps_per_round
        self.profile: bool = args.profile is not None
        self.deadline = time.monotonic() + args.time_limit if args.time_limit else None
        self.rows: list[Row] = []
        self.shares: dict[str, dict[str, float]] = {}

    def interleaved(self, names: Sequence[str]) -> None:
        """All at once, a round of each in turn."""
        workers = {name: Worker(name, self.setting, self.sizes, self.deadline) for name in names}
        for worker in workers.values():
            worker.await_start()
        rows = {name: Row(name, worker.micro_batch_size) for name, worker in workers.items()}
        self.rows += rows.values()
        for _ in range(self.rounds):
            for name, worker in workers.items():
                self._round(rows[name], worker)
        for name, worker in workers.items():
            self._finish(rows[name], worker)

    def one_by_one(self, names: Sequence[str]) -> None:
        """One process at a time; the first that ran again at the end, while there is time."""
        for name in names:
            self._alone(name, name)
        first = next((row.step for row in self.rows if row.seconds), None)
        if first is not None and len(names) > 1:
            self._alone(first, f"{first}, again")

    def _alone(self, name: str, title: str) -> None:
        row = Row(title)
        self.rows.append(row)
        if self.deadline is not None and time.monotonic() > self.deadline:
            row.remark = f"not started: {OUT_OF_TIME}"
            return
        worker = Worker(name, self.setting, self.sizes, self.deadline)
        worker.await_start()
        row.micro_batch_size = worker.micro_batch_size
        for _ in range(self.rounds):
            self._round(row, worker)
        self._finish(row, worker)

    def _round(self, row: Row, worker: Worker) -> None:
        seconds = worker.ask("time", self.steps)
        if seconds is not None:
            row.seconds.append(seconds)

    def _finish(self, row: Row, worker: Worker) -> None:
        row.peak_bytes = worker.ask("memory") or 0
        shares = worker.ask("profile") if self.profile else None
        if shares is not None:
            self.shares[row.step] = shares
        worker.close()
        row.remark = worker.error
        if worker.error == OUT_OF_MEMORY:
            row.remark = f"{OUT_OF_MEMORY} at micro-batch {row.micro_batch_size or self.sizes[-1]}"
        if worker.error and worker.error != OUT_OF_TIME:
            row.seconds.clear()
        print(f"{row.step}: {row.remark or f'{len(row.seconds)} rounds'}", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--preset", help="model preset; default: about 16 M parameters, Llama-style")
    made.add_argument("--vocab-size", type=int, help="default the preset's, else 8192")
    made.add_argument(
        "--micro-batch-size", default="4", help="auto: the largest of 16, 8, 4, 2, 1 that fits; default 4"
    )
    made.add_argument("--seq-length", type=int, help="default the preset's, else 512")
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    made.add_argument("--rounds", type=int, default=7, help="default 7")
    made.add_argument("--steps-per-round", type=int, help="without waiting in between; default 1 on a CPU, 4 on a GPU")
    made.add_argument("--only", metavar="PATTERN", help="contenders whose name has this regular expression")
    made.add_argument("--compile", action="store_true", help="on a CPU: also contenders that compile for minutes")
    made.add_argument(
        "--time-limit", type=float, metavar="SECONDS", help="what is not measured by then is said to be missing"
    )
    made.add_argument("--peak-tflops", type=float, help="dense 16-bit peak, where the device is not known")
    made.add_argument("--json", type=Path, help="write the figures there as well")
    made.add_argument("--profile", type=Path, metavar="FILE", help="a table of where each step's time goes (Markdown)")
    return made


def main() -> int:
    args = parser().parse_args()
    args.steps_per_round = args.steps_per_round or (1 if args.device == "cpu" else 4)
    config = configuration(args)
    names, left_out = chosen(args)
    run = Run(Setting(config, args.device), args)
    if args.device == "cpu":
        run.interleaved(names)
    else:
        run.one_by_one(names)
    peak = device_peak_tflops(torch.device(args.device), "bf16", args.peak_tflops)
    seq_length = config.training.seq_length
    yardstick = Yardstick(model_flops(config.model, seq_length), seq_length, peak)
    card = torch.cuda.get_device_name() if args.device == "cuda" else f"{platform.machine()} CPU"
    about = f"torch {torch.__version__}, {card}, {torch.get_num_threads()} CPU threads, sequence length {seq_length}"
    print(f"\n`{shlex.join(['python', *sys.argv])}`; {about}\n\n{yardstick.formula()}\n\n{table(run.rows, yardstick)}")
    print(f"\n{best_against(run.rows, 'steel_megatron', 'transformers')}")
    if left_out:
        print("\nNot run: " + "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) + ".")
    if args.profile:
        args.profile.write_text(f"{about}\n\n{markdown(run.shares)}")
        print(f"\nWhere the time goes:\n\n{markdown(run.shares)}")
    if args.json:
        result = {
            "about": about,
            "command": sys.argv,
            "rows": as_json(run.rows, yardstick),
            "not run": left_out,
            "shares of time": run.shares,
        }
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if any(row.seconds for row in run.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
