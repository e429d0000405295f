"""Statistics of how many tokens the documents of a dataset have, exact and in memory that does not grow with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steel_megatron.tokens.indexed import IndexedDataset

AT_ONCE = 1 << 20  # documents looked at together
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class LengthBucket:
    """Documents of ``first`` to ``last`` tokens, both ends included."""

    first: int
    last: int
    documents: int
    tokens: int


@dataclass(frozen=True)
class DocumentLengths:
    """``quantiles[q]`` is the least length that at least the share q of all documents does not exceed."""

    empty: int
    shortest: int
    longest: int
    mean: float
    quantiles: dict[str, int]
    histogram: tuple[LengthBucket, ...]


def document_lengths(dataset: IndexedDataset) -> DocumentLengths | None:
    """None for a dataset without documents. The index must be valid (:meth:`IndexedDataset.validate`)."""
    if dataset.document_count == 0:
        return None
    lengths, counts = count_lengths(dataset)
    documents = int(counts.sum())
    upto = np.cumsum(counts)
    return DocumentLengths(
        empty=int(counts[lengths == 0].sum()),
        shortest=int(lengths[0]),
        longest=int(lengths[-1]),
        mean=dataset.token_count / documents,
        quantiles={f"{100 * q:g}%": int(lengths[np.searchsorted(upto, q * documents)]) for q in QUANTILES},
        histogram=tuple(_histogram(lengths, counts)),
    )


def count_lengths(dataset: IndexedDataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different lengths of documents in tokens, ascending, and how many documents have each."""
    lengths = counts = np.empty(0, np.int64)
    for _, bounds in dataset.document_blocks(AT_ONCE):
        here, times = np.unique(np.diff(bounds), return_counts=True)
        lengths, inverse = np.unique(np.concatenate([lengths, here]), return_inverse=True)
        summed = np.zeros(len(lengths), np.int64)
        np.add.at(summed, inverse, np.concatenate([counts, times]))
        counts = summed
    return lengths, counts


def _histogram(lengths: NDArray[np.int64], counts: NDArray[np.int64]) -> list[LengthBucket]:
    """Buckets 0, 1, 2–3, 4–7, … from the first to the last that has a document."""
    buckets: list[LengthBucket] = []
    first = 0
    while first <= lengths[-1]:
        last = 2 * first - 1 if first > 1 else first
        inside = (lengths >= first) & (lengths <= last)
        documents, tokens = int(counts[inside].sum()), int((counts * lengths)[inside].sum())
        if documents or buckets:
            buckets.append(LengthBucket(first, last, documents, tokens))
        first = last + 1
    return buckets
