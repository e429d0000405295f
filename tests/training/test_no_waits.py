"""Between two readings of the log nothing in a step waits for the device; a reading waits once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.host_waits import difference, host_waits
from helpers.tiny_run import run_config
from steel_megatron.config import load_run_config
from steel_megatron.parallel.tensor import linear_cross_entropy
from steel_megatron.training import loop
from steel_megatron.training.loop import Trainer
from steel_megatron.training.output.metrics_rows import read_metrics
from steel_megatron.training.run import train

READING = {"tolist": 1}


def watched(monkeypatch: pytest.MonkeyPatch, config: Path, *, log_interval: int = 4) -> tuple[list[Any], list[Any]]:
    """Runs ``steel train``'s function; what waited from each step to the next reading, and what in each reading."""
    steps: list[dict[str, int]] = []
    readings: list[tuple[int, dict[str, int]]] = []
    mark: dict[str, int] = {}
    read, call = Trainer.read, Trainer.call

    def watched_read(trainer: Trainer) -> Any:
        steps.append(difference(counter, mark))
        before = dict(counter)
        rows = read(trainer)
        readings.append((trainer.state.step, difference(counter, before)))
        return rows

    def watched_call(trainer: Trainer, hook: str, *arguments: Any) -> None:
        if hook == "on_step_begin" and not trainer.unread:
            mark.clear()
            mark.update(counter)
        call(trainer, hook, *arguments)

    monkeypatch.setattr(Trainer, "read", watched_read)
    monkeypatch.setattr(Trainer, "call", watched_call)
    monkeypatch.setattr(loop, "READ_SECONDS", 1e9)
    run = load_run_config(config, {"log_interval": log_interval})
    with host_waits() as counter:
        train(run)
    return steps, readings


@pytest.mark.parametrize(
    "knobs",
    [
        {"exp_avg_dtype": "bf16", "exp_avg_sq_dtype": "bf16", "z_loss_coeff": 0.01},
        {"kernel_backend": "torch", "precision": "fp32", "exp_avg_sq_dtype": "bf16"},
        {"reset_position_ids": True, "reset_attention_mask": True, "num_workers": 1},
        {"recompute_granularity": "full", "clip_grad": 0.0, "micro_batch_size": 4},
    ],
    ids=["bf16", "torch-fp32", "packing", "recompute"],
)
def test_only_readings_wait(tmp_path, monkeypatch, knobs):
    knobs = {"train_iters": 9, "eval_iters": 0, "save_interval": 6, "tensorboard": True, **knobs}
    steps, readings = watched(monkeypatch, run_config(tmp_path, **knobs))
    # The first two find out how long a step takes; 6 is saved, 9 is the last.
    assert [step for step, _ in readings] == [1, 2, 4, 6, 8, 9]
    assert all(waits == READING for _, waits in readings), readings
    # The first step makes the tables of the kernels and of RoPE.
    assert [waits for waits in steps[1:] if waits] == []
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == list(range(1, 10))


def test_a_head_in_chunks_waits_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(linear_cross_entropy.CHUNK_BYTES, "cpu", 4096)
    steps, _ = watched(monkeypatch, run_config(tmp_path, train_iters=6, eval_iters=0, global_batch_size=6))
    assert [waits for waits in steps[1:] if waits] == []


def test_fp16_reads_the_norm_of_each_step(tmp_path, monkeypatch):
    """The loss scale of a step depends on the overflow of the one before."""
    steps, readings = watched(monkeypatch, run_config(tmp_path, train_iters=8, eval_iters=0, precision="fp16"))
    assert [step for step, _ in readings] == [1, 2, 4, 8]
    assert [waits.get("__float__") for waits in steps] == [1, 1, 2, 4]


def test_the_count_sees_what_waits():
    with host_waits() as found:
        x = torch.tensor([1.0, 0.0, 2.0])
        x.sum().item()
        x[x > 0.5] = 3.0
        x.nonzero()
        bool(x.any())
        x.tolist()
    assert found["item"] == found["nonzero.default"] == found["tolist"] == found["__bool__"] == found["tensor"] == 1
    assert found["_local_scalar_dense.default"] == 2
    assert sum(count for name, count in found.items() if name.startswith("index_put")) == 1
