"""Folders of tiny ``transformers`` models, as their users save them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from helpers.small_tokenizer import SMALL_VOCABULARY, small_tokenizer
from helpers.tiny_models import tiny_hf_model


def save_hf_model(name: str, folder: Path, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """Saves a tiny model and returns it; ``options`` as of ``save_pretrained``."""
    model = tiny_hf_model(name).to(dtype)
    model.save_pretrained(folder, **options)
    return model


def save_hf_model_with_tokenizer(name: str, folder: Path) -> Any:
    """A tiny model whose vocabulary is that of the small tokenizer, with its files."""
    model = tiny_hf_model(name, vocab_size=SMALL_VOCABULARY)
    model.save_pretrained(folder)
    small_tokenizer(folder)
    return model
