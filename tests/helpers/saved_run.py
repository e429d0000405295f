"""A run's folder with a checkpoint as training writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import RunConfig
from steel_megatron.model.gpt import GPT
from steel_megatron.model.slices import model_slices
from steel_megatron.parallel.parameter import TensorSlice


def save_run(
    model: GPT, folder: Path, step: int = 10, masters: bool = False, fingerprint: str | None = None, **knobs: Any
) -> CheckpointStore:
    """Saves the model's weights, and ``masters`` that hold what rounding took away: weight × (1 + 2⁻¹²), fp32."""
    blocks = model_slices([model])
    if masters:
        for name, block in list(blocks.items()):
            exact = block.tensor.float() * (1 + 2**-12)
            blocks[name.replace("model.", "optimizer.master.")] = TensorSlice(exact, block.global_shape, block.offset)
    precision = "bf16" if next(model.parameters()).dtype == torch.bfloat16 else "fp32"
    config = RunConfig(model=model.config).replace(**{"precision": precision, **knobs})
    store = CheckpointStore(folder)
    store.save(step, blocks, {"config": config.to_dict(), "tokenizer_fingerprint": fingerprint})
    return store
