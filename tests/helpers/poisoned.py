"""Runs in which some samples cannot be learned: they hold a token whose row of the embedding is not a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from helpers.tiny_run import run_config, train
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.parallel.parameter import TensorSlice
from steel_megatron.samples.mixing.phases import Phase
from steel_megatron.samples.order import Order
from steel_megatron.tokens.indexed import IndexedWriter

POISON = 100  # the last id of the vocabulary; data without poison does not have it
EMBEDDING = "model.embedding.weight"
LENGTH, SEED = 16, 1234  # of the run


def write_poisoned_tokens(prefix: Path, samples: tuple[int, ...], documents: int = 300) -> None:
    """The tiny run's kind of data; these samples of the run hold the poisonous token, and no others."""
    random = np.random.default_rng(0)
    texts = []
    for _ in range(documents):
        start, step, length = random.integers(100), random.integers(1, 4), random.integers(5, 60)
        texts.append((start + step * np.arange(length)) % 100)
    tokens = np.concatenate(texts)
    windows = (len(tokens) - 1) // LENGTH
    order = Order(SEED, [Phase.of(0, {prefix.name: 1})], {prefix.name: windows})
    for sample in samples:
        tokens[order.at(sample).window * LENGTH + LENGTH // 2] = POISON
    with IndexedWriter(prefix, "uint16") as writer:
        writer.add_many(tokens, [len(text) for text in texts])


def poisoned_weights(folder: Path, config: Path, value: float = float("nan")) -> Path:
    """A checkpoint of weights as a run begins with, but for the poisonous token's row."""
    first, poisoned = folder / "first", folder / "poisoned"
    train(config, "--save", str(first), "--train-iters", "1", "--lr-warmup-iters", "0")
    store = CheckpointStore(first)
    names = sorted(name for name in store.tensors(1) if name.startswith("model."))
    tensors = dict(store.read_tensors(1, names))
    tensors[EMBEDDING][POISON] = value
    blocks = {name: TensorSlice(tensor, tuple(tensor.shape), (0,) * tensor.dim()) for name, tensor in tensors.items()}
    CheckpointStore(poisoned).save(0, blocks, store.facts(1) | {"state": {}})
    return poisoned


def poisoned_run(folder: Path, samples: tuple[int, ...] = (43, 45, 66), **knobs: Any) -> Path:
    """A run file that starts from poisoned weights on poisoned data, which a first call makes."""
    if not (folder / "data.idx").exists():
        write_poisoned_tokens(folder / "data", samples)
    knobs = {"eval_iters": 0, "split": "100,0,0", "precision": "fp32", **knobs}
    if not (folder / "poisoned").exists():
        poisoned_weights(folder, run_config(folder, **knobs))
    return run_config(folder, pretrained_checkpoint=str(folder / "poisoned"), **knobs)
