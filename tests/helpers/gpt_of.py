"""Our model with the weights of a ``transformers`` model."""

from __future__ import annotations

from typing import Any

import torch

from helpers.hf_state import StateDict
from steel_megatron.huggingface.options import read_options
from steel_megatron.huggingface.weights import from_hugging_face
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.grid import Grid


def gpt_of(hf_model: Any, dtype: torch.dtype = torch.float32) -> GPT:
    """A copy of the model, on one process."""
    family, config = read_options(hf_model.config.to_dict())
    model = GPT(config, Grid.single(), dtype=dtype).eval()
    from_hugging_face(StateDict(hf_model.state_dict()), model, family)
    return model
