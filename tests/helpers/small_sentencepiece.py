"""SentencePiece models that are trained in a moment."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceTrainer

from helpers.sample_texts import TEXTS

# A BPE model with these options has an exact Hugging Face form.
LIKE_LLAMA: dict[str, Any] = {
    "model_type": "bpe",
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
}


def small_sentencepiece(path: Path, **options: Any) -> Path:
    """Trains a model on the sample texts, writes it and returns its path; ``options`` as of SentencePieceTrainer."""
    model = io.BytesIO()
    lines = [line for text in TEXTS.values() for line in text.replace("\0", "").splitlines()] * 5
    defaults = {"vocab_size": 700, "byte_fallback": True, "hard_vocab_limit": False, "minloglevel": 2, "num_threads": 1}
    SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, **{**defaults, **options})
    path.write_bytes(model.getvalue())
    return path
