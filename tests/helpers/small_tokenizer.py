"""A real byte-level BPE that is trained in a moment."""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from pathlib import Path

from helpers.sample_texts import TEXTS
from steel_megatron.tokenizer.byte_bpe import QWEN_SPECIAL_TOKENS, byte_letters
from steel_megatron.tokenizer.hf_folder import write_folder
from steel_megatron.tokenizer.train import train_bpe

SMALL_VOCABULARY = 600


@lru_cache(maxsize=1)
def _content() -> str:
    return train_bpe(list(TEXTS.values()) * 3, SMALL_VOCABULARY).to_str()


def small_tokenizer(folder: Path) -> Path:
    """Writes the tokenizer as a Hugging Face folder of 600 ids and returns the folder."""
    from tokenizers import Tokenizer as Backend

    write_folder(Backend.from_str(_content()), QWEN_SPECIAL_TOKENS, folder)
    return folder


def small_tiktoken(path: Path) -> Path:
    """Writes the same vocabulary as a ``.tiktoken`` file and returns its path."""
    byte_of = {letter: byte for byte, letter in byte_letters().items()}
    lines = []
    for token, rank in sorted(json.loads(_content())["model"]["vocab"].items(), key=lambda entry: entry[1]):
        lines.append(base64.b64encode(bytes(byte_of[letter] for letter in token)) + b" %d\n" % rank)
    path.write_bytes(b"".join(lines))
    return path
