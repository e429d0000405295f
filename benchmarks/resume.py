"""Whether a run repeats and continues to the last bit on this device.

    python benchmarks/resume.py [--device cuda] [--processes 2] [--preset NAME] [--no-deterministic] [--json FILE]

Three runs of the same few steps, each in processes of its own: one undisturbed, the same again, and one that is stopped
half way and continued by the same command. Losses and gradient norms of every step, weights, masters and moments of the
last checkpoint are compared bit by bit; what differs is told with its largest difference. The status is 1 if something
differs while ``--deterministic-mode`` is on, which is the promise that is checked here.

With ``--processes 2`` on one GPU the processes talk over NCCL through a socket, each as if it were a machine of its own
(``NCCL_HOSTID``): slow, but the same calls in the same order as on two cards.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.verify.layouts import write_sample_data

SHAPE = {
    "num-layers": 4,
    "hidden-size": 256,
    "ffn-hidden-size": 704,
    "num-attention-heads": 4,
    "num-query-groups": 2,
    "vocab-size": 8192,
    "seq-length": 512,
}
VOCABULARY = 8000  # of the data: within that of every preset
SECONDS = 240  # a run that takes longer hangs


def command(args: argparse.Namespace, data: str, save: Path, *more: str) -> list[str]:
    """``steel train`` for one process."""
    shape = {"preset": args.preset, "seq-length": args.seq_length} if args.preset else SHAPE
    flags = {
        **shape,
        "data-path": data,
        "micro-batch-size": args.micro_batch_size,
        "global-batch-size": 2 * args.micro_batch_size * args.processes,
        "train-iters": args.steps,
        "precision": args.precision,
        "device": args.device,
        "save": save,
        "save-interval": args.steps,
        "log-interval": args.steps,
        "split": "100,0,0",
        "eval-iters": 0,
        "lr": 1e-3,
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    mode = [] if args.no_deterministic else ["--deterministic-mode"]
    return [sys.executable, "-m", "steel_megatron", "train", *words, *mode, *more, *args.flags]


def environments(processes: int, device: str) -> list[dict[str, str]]:
    """Of each process; on a GPU each is the only one of a machine, so that NCCL lets them share the card."""
    if processes == 1:
        return [dict(os.environ)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if device == "cuda":
        shared |= {"NCCL_SOCKET_IFNAME": "lo", "GLOO_SOCKET_IFNAME": "lo", "NCCL_MULTI_RANK_GPU_ENABLE": "1"}
    return [
        {
            **os.environ,
            **shared,
            "RANK": str(rank),
            "LOCAL_RANK": "0",
            "LOCAL_WORLD_SIZE": "1",
            "NCCL_HOSTID": f"{socket.gethostname()}-{rank}",
        }
        for rank in range(processes)
    ]


def run(words: list[str], processes: int, device: str) -> None:
    """Runs the processes to their end.

    Raises:
        RuntimeError: one fails or hangs; with the end of what it printed.
    """
    started = [
        subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for environment in environments(processes, device)
    ]
    try:
        outputs = [process.communicate(timeout=SECONDS)[0] for process in started]
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"no end after {SECONDS} s: {shlex.join(words)}") from error
    finally:
        for process in started:
            process.kill()
    for process, output in zip(started, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(f"status {process.returncode} of {shlex.join(words)}\n{output[-2000:]}")


def numbers(save: Path, step: int) -> dict[str, torch.Tensor]:
    """Every number of a run: losses and norms of its steps, and all tensors of its last checkpoint."""
    rows = [json.loads(line) for line in (save / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    found = {
        name: torch.tensor([row[name] for row in rows if row["step"] <= step], dtype=torch.float64)
        for name in ("loss", "grad_norm")
    }
    store = CheckpointStore(save)
    return found | dict(store.read_tensors(step, store.tensors(step)))


def differences(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> dict[str, float]:
    """The largest difference of each kind of number that is not equal to the last bit, by kind."""
    if first.keys() != second.keys():
        raise RuntimeError(f"only in one of them: {sorted(first.keys() ^ second.keys())[:5]}")
    largest: dict[str, float] = {}
    for name, ours in first.items():
        theirs = second[name]
        if ours.shape == theirs.shape and torch.equal(ours, theirs):
            continue
        kind = name if name in ("loss", "grad_norm") else name.partition(".")[0]
        apart = float((ours.double() - theirs.double()).abs().max()) if ours.shape == theirs.shape else float("inf")
        largest[kind] = max(largest.get(kind, 0.0), apart)
    return largest


def check(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Runs all three and compares; the rows of the table."""
    data = write_sample_data(folder, VOCABULARY)
    for name in ("undisturbed", "again"):
        run(command(args, data, folder / name), args.processes, args.device)
    stopped = folder / "stopped and continued"
    run(command(args, data, stopped, "--exit-interval", str(args.steps // 2)), args.processes, args.device)
    if CheckpointStore(stopped).newest() != args.steps // 2:
        raise RuntimeError(f"the run did not stop at step {args.steps // 2}")
    run(command(args, data, stopped), args.processes, args.device)
    base = numbers(folder / "undisturbed", args.steps)
    return {name: differences(base, numbers(folder / name, args.steps)) for name in ("again", "stopped and continued")}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--processes", type=int, default=1, help="data parallel; on one GPU they share it")
    parser.add_argument("--preset", help="a model of steel plan --list instead of a small one")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--seq-length", type=int, default=512)
    parser.add_argument("--micro-batch-size", type=int, default=2)
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp16", "fp32"])
    parser.add_argument(
        "--no-deterministic", action="store_true", help="without --deterministic-mode, to see what it is for"
    )
    parser.add_argument("--json", type=Path, help="writes what was found")
    parser.add_argument("flags", nargs="*", help="further flags of steel train, behind --")
    return parser.parse_args()


def main() -> int:
    args = parse()
    with tempfile.TemporaryDirectory() as folder:
        found = check(args, Path(folder))
    device = torch.cuda.get_device_name() if args.device == "cuda" else platform.processor() or platform.machine()
    print(
        f"`python {shlex.join(sys.argv)}`; {device}, torch {torch.__version__}; "
        f"{args.processes} processes, {args.steps} steps\n"
    )
    print("| run | against the undisturbed one |\n| --- | --- |")
    for name, apart in found.items():
        words = ", ".join(f"{kind} differs by {most:.3g}" for kind, most in apart.items())
        print(f"| {name} | {words or 'equal to the last bit'} |")
    if args.json:
        args.json.write_text(
            json.dumps({"device": device, "processes": args.processes, "differences": found}, indent=2)
        )
    return int(any(found.values()) and not args.no_deterministic)


if __name__ == "__main__":
    sys.exit(main())
