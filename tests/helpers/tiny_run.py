"""Small training runs through the command line, as a user starts them."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from helpers.processes import free_port, run_processes
from steel_megatron.cli.main import main
from steel_megatron.tokens.indexed import IndexedWriter
from steel_megatron.training.output.metrics_rows import read_metrics

VOCABULARY = 101

MODEL = {
    "num_layers": 2,
    "hidden_size": 32,
    "ffn_hidden_size": 64,
    "num_attention_heads": 4,
    "num_query_groups": 2,
    "max_position_embeddings": 64,
    "vocab_size": VOCABULARY,
}


def write_tokens(prefix: Path, documents: int = 300, seed: int = 0) -> str:
    """A dataset with something to learn: arithmetic sequences modulo the vocabulary, of random length and step."""
    random = np.random.default_rng(seed)
    with IndexedWriter(prefix, "uint16") as writer:
        for _ in range(documents):
            start, step, length = random.integers(100), random.integers(1, 4), random.integers(5, 60)
            writer.add_document((start + step * np.arange(length)) % 100)
    return str(prefix)


def run_config(folder: Path, **knobs: Any) -> Path:
    """A run file for the tiny model on tiny data below ``folder``; ``knobs`` by bare name override it."""
    data = folder / "data"
    if not data.with_name("data.idx").exists():
        write_tokens(data)
    tree = {
        "model": MODEL,
        "seq_length": 16,
        "micro_batch_size": 2,
        "global_batch_size": 8,
        "train_iters": 12,
        "eval_interval": 4,
        "eval_iters": 1,
        "lr": 1e-2,
        "min_lr": 1e-3,
        "lr_warmup_iters": 2,
        "split": "90,10,0",
        "data_path": [str(data)],
        "save": str(folder / "run"),
        "save_interval": 4,
        "log_interval": 1,
        "tensorboard": False,
        "device": "cpu",
        **knobs,
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def command(config: Path, *flags: str, processes: int = 1) -> list[str]:
    """The command that trains; under torchrun for several processes."""
    start = [sys.executable, "-m"]
    if processes > 1:
        port = str(free_port())
        start += ["torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", port, "-m"]
    return [*start, "steel_megatron", "train", "--config", str(config), *flags]


def start(config: Path, *flags: str, processes: int = 1) -> subprocess.Popen[str]:
    """Starts training in the background, in a process group of its own."""
    return subprocess.Popen(
        command(config, *flags, processes=processes),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        start_new_session=True,
    )


def start_ranks(config: Path, *flags: str, processes: int, output: Path) -> list[subprocess.Popen[bytes]]:
    """Starts the processes of a run without torchrun, which would shield them from a kill; all print to ``output``."""
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with output.open("wb") as file:
        return [
            subprocess.Popen(
                command(config, *flags),
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**environment(), **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(processes)
        ]


def train(config: Path, *flags: str, processes: int = 1, status: int = 0, timeout: float = 300) -> str:
    """Trains, checks the exit status and returns what was printed.

    One process is this one, and several are forks of a server that has imported everything, not torchrun's: that saves
    each its start-up, which takes more time than such a run.
    """
    words = ["train", "--config", str(config), *flags]
    if processes == 1:
        results = [_run(words)]
    else:
        results = run_processes(_run, processes, words, init_group=False, timeout=timeout)
    printed = "".join(text for _, text in results)
    assert [found for found, _ in results] == [status] * processes, printed[-4000:]
    return printed


def _run(words: list[str]) -> tuple[int, str]:
    """Exit status and output of a command; a rank that leaves its process at the end comes back from it instead."""
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        patch.setattr(os, "_exit", sys.exit)
        try:
            status = main(words)
        except SystemExit as left:
            status = int(left.code or 0)
    return status, output.getvalue()


def wait_for_step(folder: Path, step: int, process) -> None:
    """Waits until the run has written the metrics of a step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read()
        path = folder / "metrics.jsonl"
        if path.exists() and any(row["step"] >= step for row in read_metrics(path)):
            return
        time.sleep(0.02)
    raise TimeoutError(f"step {step} did not come")


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}
