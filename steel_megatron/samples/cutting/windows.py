"""Windows: the samples of one source, cut from its tokens one after the other.

With samples of L tokens, window k is the L + 1 tokens from k·L on: L inputs and the same shifted by one as labels. The
last token of a window is the first of the next, so every token but the first is a label exactly once per epoch.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from steel_megatron.tokens.indexed import IndexedDataset


class Windows(Protocol):
    """What a batch needs of a source: :class:`SourceWindows`, or samples that are packed otherwise."""

    documents: int
    seq_length: int

    @property
    def tokens(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, window: int) -> NDArray[Any]:
        """The L + 1 tokens of a window."""
        ...

    def document_starts(self, window: int) -> NDArray[np.int64]:
        """Where documents begin inside the window's inputs: ascending places in 1 … L - 1."""
        ...

    def counted(self, window: int) -> NDArray[np.bool_] | None:
        """Which of the L labels count; None: all."""
        ...

    def pieces(self, window: int) -> list[tuple[int, int]]:
        """The stretches of the dataset that the window is made of: first token and number of tokens."""
        ...


class SourceWindows:
    """The windows of a range of documents, as views of the mapped file; opening it reads no tokens.

    Args:
        dataset: the tokens.
        first_document, last_document: the range, without ``last_document``.
        seq_length: L, tokens of a sample.
    """

    def __init__(self, dataset: IndexedDataset, first_document: int, last_document: int, seq_length: int) -> None:
        self.dataset = dataset
        self.documents = last_document - first_document
        self.seq_length = seq_length
        self.start, self.stop = dataset.document_token_range(first_document, last_document)

    @property
    def tokens(self) -> int:
        """Tokens of the range; up to ``seq_length`` of them at its end fill no window and are not used."""
        return self.stop - self.start

    def __len__(self) -> int:
        return max(self.tokens - 1, 0) // self.seq_length

    def __getitem__(self, window: int) -> NDArray[Any]:
        """The L + 1 tokens of a window, in the file's type, without a copy."""
        start = self._start_of(window)
        return self.dataset.tokens[start : start + self.seq_length + 1]

    def document_starts(self, window: int) -> NDArray[np.int64]:
        """Where documents begin inside the window's inputs: ascending places in 1 … L - 1.

        From the index, not from end-of-document tokens, so that it holds for data without them.
        """
        start = self._start_of(window)
        starts = self.dataset.document_starts_between(start + 1, start + self.seq_length)
        return np.unique(np.asarray(starts, np.int64)) - start  # empty documents begin where the next one does

    def counted(self, window: int) -> None:
        """Every label counts."""

    def pieces(self, window: int) -> list[tuple[int, int]]:
        """First token in the dataset and number of tokens: one stretch."""
        return [(self._start_of(window), self.seq_length + 1)]

    def _start_of(self, window: int) -> int:
        if not 0 <= window < len(self):
            raise IndexError(f"window {window} of {len(self)}")
        return self.start + int(window) * self.seq_length
