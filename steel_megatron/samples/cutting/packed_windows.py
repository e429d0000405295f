"""Samples of ``--packing best-fit``: whole documents side by side, and padding where none fits any more."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steel_megatron.samples.cutting.packing_index import PackingIndex
from steel_megatron.tokens.indexed import IndexedDataset

PADDING = 0  # any id will do: padding comes last, is no label, and nothing attends to it


class PackedWindows:
    """The samples of a range of documents, in the place of :class:`~.windows.SourceWindows`.

    Args:
        dataset: the tokens.
        documents: first and one-past-last of the range.
        seq_length: L, tokens of a sample.
        index: of this range and length.
    """

    def __init__(
        self, dataset: IndexedDataset, documents: tuple[int, int], seq_length: int, index: PackingIndex
    ) -> None:
        self.dataset = dataset
        self.documents = documents[1] - documents[0]
        self.seq_length = seq_length
        self.index = index
        self.start, self.stop = dataset.document_token_range(*documents)

    @property
    def tokens(self) -> int:
        """Tokens of the range; all of them are used."""
        return self.stop - self.start

    def __len__(self) -> int:
        return self.index.samples

    def __getitem__(self, window: int) -> NDArray[Any]:
        """The L + 1 tokens of a sample, in the file's type, padded with ``PADDING``."""
        tokens = np.full(self.seq_length + 1, PADDING, self.dataset.dtype)
        place = 0
        for start, length in self.pieces(window):
            tokens[place : place + length] = self.dataset.tokens[start : start + length]
            place += length
        return tokens

    def document_starts(self, window: int) -> NDArray[np.int64]:
        """Where pieces, and at last the padding, begin inside the sample's inputs: ascending places in 1 … L - 1."""
        ends = np.cumsum(self.index.piece_ranges(self._checked(window))[1])
        return ends[ends < self.seq_length]

    def counted(self, window: int) -> NDArray[np.bool_]:
        """Which of the L labels count: neither a piece's first token, of which nothing before it tells, nor padding."""
        ends = np.cumsum(self.index.piece_ranges(self._checked(window))[1])
        counted = np.ones(self.seq_length, np.bool_)
        counted[ends[:-1] - 1] = False
        counted[max(int(ends[-1]) - 1, 0) :] = False
        return counted

    def pieces(self, window: int) -> list[tuple[int, int]]:
        """First token in the dataset and number of tokens of each piece."""
        starts, lengths = self.index.piece_ranges(self._checked(window))
        return list(zip(starts.tolist(), lengths.tolist(), strict=True))

    def _checked(self, window: int) -> int:
        if not 0 <= window < len(self):
            raise IndexError(f"window {window} of {len(self)}")
        return int(window)
