"""A run on real text, with a real tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from helpers.sample_texts import TEXTS
from helpers.small_tokenizer import SMALL_VOCABULARY, small_tokenizer
from helpers.tiny_run import run_config
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokens.indexed import IndexedWriter


def text_run(folder: Path, **knobs: Any) -> Path:
    """A run file for a tiny model and 8 steps, and the data that it names; ``knobs`` as of :func:`run_config`."""
    tokenizer = build_tokenizer(None, small_tokenizer(folder / "small"))
    with IndexedWriter(folder / "data", "uint16") as writer:
        for text in [*TEXTS.values()] * 6:
            writer.add_document(np.array([*tokenizer.encode(text), tokenizer.eod_id]))
    return run_config(
        folder, vocab_size=SMALL_VOCABULARY, tokenizer_model=str(folder / "small"), train_iters=8, **knobs
    )
