"""Checkpoints of a few small tensors, whose values tell the step."""

from __future__ import annotations

from pathlib import Path

import torch

from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.parallel.parameter import TensorSlice

SHAPES = {"model.w": (8, 6), "model.b": (6,), "optimizer.exp_avg.w": (8, 6), "optimizer.exp_avg.b": (6,)}


def value_of(name: str, step: int) -> torch.Tensor:
    """What a tensor holds at a step."""
    shape = SHAPES[name]
    return torch.arange(torch.Size(shape).numel()).view(shape) + 100.0 * step + len(name)


def blocks_at(step: int, rank: int = 0, ranks: int = 1) -> dict[str, TensorSlice]:
    """This rank's rows of the weights and of the state; every rank holds all of ``model.b``."""
    blocks = {}
    for name, shape in SHAPES.items():
        if name == "model.b":
            first, end = 0, shape[0]
        else:
            first, end = rank * shape[0] // ranks, (rank + 1) * shape[0] // ranks
        blocks[name] = TensorSlice(value_of(name, step)[first:end], shape, (first, *[0] * (len(shape) - 1)))
    return blocks


def save_steps(root: Path, *steps: int) -> CheckpointStore:
    """A store with checkpoints of some steps, written by this process alone."""
    store = CheckpointStore(root)
    for step in steps:
        store.save(step, blocks_at(step), {"step": step}, f"random {step}".encode())
    return store


def assert_holds(store: CheckpointStore, step: int) -> None:
    """The checkpoint of a step is whole and has what belongs to it."""
    assert store.verify(step) == []
    assert store.facts(step) == {"step": step}
    found = dict(store.read_tensors(step, SHAPES))
    for name in SHAPES:
        assert torch.equal(found[name], value_of(name, step)), (step, name)
