"""The encoder of this project: byte-level BPE in C++ (csrc/bpe), for the vocabularies of :mod:`.byte_pairs`.

A piece between two cuts of the pattern is cut further wherever no merge of the vocabulary reaches across, so that
Chinese clauses become segments of a few characters, which come again and again; those seen before are looked up.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steel_megatron._bpe import Encoder as Backend
from steel_megatron.tokenizer.base import EncodedBatch, Tokenizer
from steel_megatron.tokenizer.byte_pairs import BytePairs, byte_pairs_of
from steel_megatron.tokenizer.normalization import nfc


class EncodedKey(NamedTuple):
    """The ids of one key's texts; see :class:`EncodedBatch`. ``text_bytes`` of UTF-8."""

    ids_T: NDArray[np.int32]
    lengths_B: NDArray[np.int64]
    text_bytes: int


class EncodedLines(NamedTuple):
    """A block of lines; those that are not blank are a document each."""

    keys: list[EncodedKey]
    blank_lines: int
    lines: int


@dataclass(frozen=True)
class SteelEncoder:
    """Texts → ids.

    Args:
        path: file with the :class:`BytePairs` and the tokenizer, pickled. The tokenizer encodes texts with characters
            that Unicode may still change; it is loaded when one comes.
    """

    path: Path

    @classmethod
    def of(cls, tokenizer: Tokenizer, path: Path) -> SteelEncoder:
        """Writes the file.

        Raises:
            UnfitError: the tokenizer's ids are not those of a vocabulary that is known here.
        """
        path.write_bytes(pickle.dumps((byte_pairs_of(tokenizer), pickle.dumps(tokenizer))))
        encoder = cls(path)
        encoder._backend  # noqa: B018 - to find out now what it does not take
        return encoder

    def encode_batch(self, texts: Sequence[str]) -> EncodedBatch:
        """The ids of several texts."""
        return EncodedBatch(*self._backend.encode(list(texts), nfc, self._reference_ids))

    def encode_lines(self, data: bytes, keys: Sequence[str], reserved: str, end: int | None) -> EncodedLines | None:
        """The ids of the texts of a block of JSON lines, without a Python object for each.

        Args:
            reserved: a field whose presence makes a line one for a closer look.
            end: an id put behind each text that has any; None: nothing is.

        Returns:
            None when a line needs a closer look.
        """
        found = self._backend.encode_lines(data, list(keys), reserved, end, nfc, self._reference_ids)
        return None if found is None else EncodedLines([EncodedKey(*key) for key in found[0]], *found[1:])

    def _reference_ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)

    @cached_property
    def _content(self) -> tuple[BytePairs, bytes]:
        pairs, tokenizer = pickle.loads(self.path.read_bytes())
        return pairs, tokenizer

    @cached_property
    def _backend(self) -> Backend:
        return self._content[0].backend()

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer: Tokenizer = pickle.loads(self._content[1])
        return tokenizer

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)
