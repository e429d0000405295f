"""What every tokenizer offers: text to ids and back, and an identity that data and models are compared by.

Legend: T tokens of a batch, one text after the other; B texts of a batch.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

END_OF_TEXT = "<|endoftext|>"


class EncodedBatch(NamedTuple):
    """Ids of several texts without a Python object per token.

    ``ids_T`` holds the ids of all texts one after the other (int32), ``lengths_B`` the number of ids of each (int64).
    """

    ids_T: NDArray[np.int32]
    lengths_B: NDArray[np.int64]


def flat_batch(ids_per_text: Sequence[Sequence[int]]) -> EncodedBatch:
    """A batch from one list of ids per text."""
    lengths_B = np.fromiter(map(len, ids_per_text), dtype=np.int64, count=len(ids_per_text))
    ids_T = np.fromiter(chain.from_iterable(ids_per_text), dtype=np.int32, count=int(lengths_B.sum()))
    return EncodedBatch(ids_T, lengths_B)


class Tokenizer(ABC):
    """Text ↔ ids.

    Text is encoded with special tokens off: a text that contains ``<|im_end|>`` gives the ids of those ten characters,
    never the control token. Control tokens are put in by number (``eod_id``, ``special_tokens``).

    Every tokenizer can be pickled, so that worker processes get the same one.
    """

    type: ClassVar[str]

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Largest id + 1, special tokens included."""

    @property
    @abstractmethod
    def eod_id(self) -> int | None:
        """The id that ends a document; None when the vocabulary has none."""

    @property
    @abstractmethod
    def special_tokens(self) -> Mapping[str, int]:
        """Control tokens: text → id."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of everything that determines the ids of a text, whatever file it was read from.

        Two tokenizers with the same fingerprint give the same ids; see :mod:`steel_megatron.tokenizer.fingerprint`.
        """

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of one text, special tokens off.

        Raises:
            DataError: the text cannot be encoded (only :class:`NullTokenizer` refuses texts).
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids, special tokens included; bytes that are not UTF-8 become U+FFFD."""

    @abstractmethod
    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes the files that ``transformers.AutoTokenizer`` reads into the folder.

        Raises:
            ConfigError: this kind of tokenizer has no such form.
        """

    def encode_batch(self, texts: Sequence[str]) -> EncodedBatch:
        """The ids of several texts; the same as :meth:`encode` of each."""
        return flat_batch([self.encode(text) for text in texts])
