"""The tokenizer of data that is numbers already."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from steel_megatron.config import ConfigError, DataError
from steel_megatron.tokenizer.base import Tokenizer
from steel_megatron.tokenizer.fingerprint import hash_description


class NullTokenizer(Tokenizer):
    """Takes texts such as ``"17 4 901"``: ids below ``vocab_size`` written as digits with white space between them.

    As in Megatron-LM the end of a document gets one id more, so :attr:`vocab_size` is the given size + 1.
    """

    type = "NullTokenizer"

    def __init__(self, vocab_size: int) -> None:
        if vocab_size < 1:
            raise ConfigError(f"--vocab-size {vocab_size}", rule="it is above 0")
        self._size = vocab_size

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._size,)

    @property
    def vocab_size(self) -> int:
        return self._size + 1

    @property
    def eod_id(self) -> int:
        return self._size

    @property
    def special_tokens(self) -> Mapping[str, int]:
        return {}

    @property
    def fingerprint(self) -> str:
        return hash_description({"kind": "null", "vocab_size": self._size})

    def encode(self, text: str) -> list[int]:
        ids = []
        for word in text.split():
            if not (word.isascii() and word.isdigit() and len(word) < 20 and int(word) < self._size):
                raise DataError(
                    f"{word[:40]!r} in a text for the NullTokenizer", rule=f"it takes ids from 0 to {self._size - 1}"
                )
            ids.append(int(word))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        raise ConfigError("the NullTokenizer has no Hugging Face form", fix="give the model's tokenizer instead")
