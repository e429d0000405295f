"""Two runs that must be the same to the last bit."""

from __future__ import annotations

from pathlib import Path

import torch

from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.training.output.metrics_rows import read_metrics

EXACT = (
    "step",
    "loss",
    "grad_norm",
    "lr",
    "consumed_samples",
    "consumed_tokens",
    "valid_loss",
    "loss_scale",
    "skipped",
)


def curve(folder: Path) -> list[dict]:
    """What a run measured, without its times."""
    return [{key: row.get(key) for key in EXACT} for row in read_metrics(folder / "metrics.jsonl")]


def assert_same_checkpoint(one: Path, other: Path, step: int) -> None:
    """The checkpoints of two runs hold the same tensors, bit by bit."""
    a, b = CheckpointStore(one), CheckpointStore(other)
    names = sorted(a.tensors(step))
    assert names == sorted(b.tensors(step))
    for (name, left), (_, right) in zip(a.read_tensors(step, names), b.read_tensors(step, names), strict=True):
        assert left.dtype == right.dtype, name
        assert torch.equal(left.reshape(-1).view(torch.uint8), right.reshape(-1).view(torch.uint8)), name
