"""Datasets in memory, with what SourceWindows asks of an IndexedDataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steel_megatron.samples.cutting.windows import SourceWindows


class ArrayDataset:
    """Documents given as lists of token ids."""

    def __init__(self, documents: Sequence[Sequence[int]], dtype: type = np.int32) -> None:
        self.tokens = np.array([token for document in documents for token in document], dtype)
        self.document_count = len(documents)
        self.boundaries = np.concatenate(([0], np.cumsum([len(document) for document in documents], dtype=np.int64)))

    def document_token_range(self, first: int, last: int) -> tuple[int, int]:
        return int(self.boundaries[first]), int(self.boundaries[last])

    def document_starts_between(self, start: int, stop: int) -> np.ndarray:
        starts = self.boundaries[:-1]
        return starts[(starts >= start) & (starts < stop)]


def numbered_windows(windows: int, seq_length: int, first_token: int = 0) -> SourceWindows:
    """A source whose tokens count up from ``first_token``, so that a sample shows where it comes from."""
    tokens = range(first_token, first_token + windows * seq_length + 1)
    return SourceWindows(ArrayDataset([tokens]), 0, 1, seq_length)  # type: ignore[arg-type]
