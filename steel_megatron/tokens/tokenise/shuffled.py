"""Documents in a random order, through files on disk: memory holds one bucket of them, whatever their number.

Document n gets the key hash(seed, n), and documents are written by ascending key. The first bits of the key name a
bucket; documents are appended to their buckets as they come, and at the end each bucket is read, sorted and written.
The order depends on the seed and the number of a document, and not on the number of buckets.

Legend: T tokens, B documents.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steel_megatron._indexed import gather

BUCKET_BYTES = 128 << 20
MOST_BUCKETS = 4096
BUFFERED_BYTES = 64 << 20


class Bucket(NamedTuple):
    """The documents of one bucket in their new order."""

    ids_T: NDArray[Any]
    lengths_B: NDArray[np.int64]


def document_keys(seed: int, first: int, count: int) -> NDArray[np.uint64]:
    """The keys of documents ``first`` to ``first + count - 1``: splitmix64's mixing (Steele et al. 2014)."""
    return _keys(seed, np.arange(first, first + count, dtype=np.uint64))


def _keys(seed: int, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return _mix(numbers + _mix(np.array([seed % 2**64], np.uint64)))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


class Buckets:
    """The buckets of one dataset in a folder.

    Args:
        expected_bytes: of all ids together, by which the number of buckets is chosen.
        state: what :meth:`sync` returned to the run that is continued.
    """

    def __init__(
        self, folder: Path, dtype: str, seed: int, expected_bytes: int, state: dict[str, Any] | None = None
    ) -> None:
        self.folder = folder
        self.dtype = np.dtype(dtype)
        self.seed = seed
        wanted = min(max(expected_bytes // BUCKET_BYTES, 1), MOST_BUCKETS)
        self.bits = int(state["bits"]) if state else int(wanted - 1).bit_length()
        self.documents = int(state["documents"]) if state else 0
        self.sizes: list[list[int]] = state["sizes"] if state else [[0, 0] for _ in range(1 << self.bits)]
        self._buffers: dict[int, tuple[bytearray, bytearray]] = {}
        self._buffered = 0
        if state is None:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        for bucket, sizes in enumerate(self.sizes):
            for path, size in zip(self._paths(bucket), sizes, strict=True):
                if path.exists():
                    os.truncate(path, size)

    def add(self, ids_T: NDArray[Any], lengths_B: NDArray[np.int64]) -> None:
        """More documents, in the order of the input."""
        count = len(lengths_B)
        buckets = self._bucket_of(document_keys(self.seed, self.documents, count))
        order = np.argsort(buckets, kind="stable")
        ids_T = np.ascontiguousarray(gather(ids_T, lengths_B, order))
        entries = np.stack([self.documents + order, lengths_B[order]], axis=1)
        ends = np.concatenate([[0], np.cumsum(entries[:, 1])])
        names, starts = np.unique(buckets[order], return_index=True)
        for bucket, start, stop in zip(names.tolist(), starts, [*starts[1:], count], strict=True):
            tokens, table = self._buffers.setdefault(bucket, (bytearray(), bytearray()))
            tokens += ids_T[ends[start] : ends[stop]].data
            table += entries[start:stop].tobytes()
        self.documents += count
        self._buffered += ids_T.nbytes + entries.nbytes
        if self._buffered > BUFFERED_BYTES:
            self._flush(sync=False)

    def sync(self) -> dict[str, Any]:
        """Waits until the disk has everything; returns what another run needs to go on."""
        self._flush(sync=True)
        return {"bits": self.bits, "documents": self.documents, "sizes": self.sizes}

    def shuffled(self, first: int) -> Iterator[Bucket]:
        """The buckets from number ``first`` on."""
        self._flush(sync=False)
        for bucket in range(first, len(self.sizes)):
            tokens, table = self._paths(bucket)
            if not table.exists():
                yield Bucket(np.empty(0, self.dtype), np.empty(0, np.int64))
                continue
            entries = np.fromfile(table, np.int64).reshape(-1, 2)
            keys = _keys(self.seed, entries[:, 0].astype(np.uint64))
            order = np.lexsort((entries[:, 0], keys))
            lengths = np.ascontiguousarray(entries[:, 1])
            yield Bucket(gather(np.fromfile(tokens, self.dtype), lengths, order), lengths[order])

    def remove(self, bucket: int) -> None:
        """Takes a bucket away that has been written."""
        for path in self._paths(bucket):
            path.unlink(missing_ok=True)

    def remove_all(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _bucket_of(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        if self.bits == 0:
            return np.zeros(len(keys), np.int64)
        return (keys >> np.uint64(64 - self.bits)).astype(np.int64)

    def _paths(self, bucket: int) -> tuple[Path, Path]:
        return self.folder / f"{bucket:04d}.ids", self.folder / f"{bucket:04d}.documents"

    def _flush(self, sync: bool) -> None:
        for bucket, buffers in self._buffers.items():
            for i, (path, buffer) in enumerate(zip(self._paths(bucket), buffers, strict=True)):
                with open(path, "ab") as file:
                    file.write(buffer)
                self.sizes[bucket][i] += len(buffer)
        self._buffers = {}
        self._buffered = 0
        if sync:
            os.sync()  # thousands of files: one call for all
