"""Indexed datasets: Megatron's .bin/.idx files, read without copying and written without holding them.

The work is done in C++ (csrc/indexed); docs/data_format.md describes the bytes.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steel_megatron.config import ConfigError, DataError
from steel_megatron.tokens.token_type import UINT24, ThreeByteIds, shown, stored

try:
    from steel_megatron import _indexed
    from steel_megatron.tokens.data_file import DataFile
except ImportError as error:
    raise ConfigError(
        f"the C++ part of steel_megatron does not load ({error})",
        rule="it is built when the package is installed",
        fix="pip install -e . in the repository (needs a C++17 compiler)",
    ) from error


SUFFIXES = (".bin", ".idx")


def missing_files(prefix: str) -> str:
    """The files that a dataset lacks, joined by "and no file"; empty where both are there."""
    return " and no file ".join(prefix + suffix for suffix in SUFFIXES if not os.path.isfile(prefix + suffix))


class _Counted:
    """What a dataset holds, by the C++ object that reads or writes it."""

    _compiled: Any

    @property
    def sequence_count(self) -> int:
        return int(self._compiled.sequence_count)

    @property
    def document_count(self) -> int:
        return int(self._compiled.document_count)

    @property
    def token_count(self) -> int:
        return int(self._compiled.token_count)


class IndexedDataset(_Counted):
    """A dataset opened by its prefix: in constant time and memory, whatever its size.

    Raises:
        DataError: a file is missing, cut off, damaged, or the two do not belong together.
    """

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        self.prefix = os.fspath(prefix)
        if missing := missing_files(self.prefix):
            raise DataError(
                f"no file {missing}",
                rule="a dataset is a pair of files PREFIX.bin and PREFIX.idx",
                fix="give the path without .bin or .idx; remove a file whose other half is gone",
            )
        self._files = [DataFile(self.prefix + suffix) for suffix in SUFFIXES]
        self._compiled = _indexed.Reader(self.prefix)
        self.token_type: str = self._compiled.dtype
        self.token_bytes = stored(self.token_type).itemsize
        self.dtype = shown(self.token_type)
        raw = np.frombuffer(self._compiled.bin_bytes, stored(self.token_type))
        # Read as an array is: by its length, its type and stretches of it.
        self.tokens = cast("NDArray[Any]", ThreeByteIds(raw)) if self.token_type == UINT24 else raw

    @property
    def multimodal(self) -> bool:
        """Whether the index has a mode per sequence (Megatron's multimodal files)."""
        return bool(self._compiled.multimodal)

    @property
    def sequence_lengths(self) -> NDArray[np.int32]:
        """Tokens of each sequence; a view of the mapped index."""
        return self._index_array("<i4", self.sequence_count, self._compiled.lengths_at)

    @property
    def sequence_pointers(self) -> NDArray[np.int64]:
        """Byte in .bin at which each sequence begins; a view of the mapped index."""
        return self._index_array("<i8", self.sequence_count, self._compiled.pointers_at)

    @property
    def document_indices(self) -> NDArray[np.int64]:
        """Sequence with which each document begins, and at last the number of sequences."""
        return self._index_array("<i8", self.document_count + 1, self._compiled.boundaries_at)

    @property
    def sequence_modes(self) -> NDArray[np.int8] | None:
        """Mode of each sequence of a multimodal dataset."""
        if not self.multimodal:
            return None
        return self._index_array("i1", self.sequence_count, self._compiled.modes_at)

    def sequence(self, number: int) -> NDArray[Any]:
        """The tokens of a sequence; a view."""
        start, stop = self._compiled.sequence_range(number)
        return self.tokens[start:stop]

    def document(self, number: int) -> NDArray[Any]:
        """The tokens of all sequences of a document; a view."""
        start, stop = self._compiled.document_range(number, number + 1)
        return self.tokens[start:stop]

    def document_token_range(self, first: int, last: int) -> tuple[int, int]:
        """Tokens [start, stop) of the documents [first, last)."""
        return self._compiled.document_range(first, last)

    def document_bounds(self, first: int, last: int) -> NDArray[np.int64]:
        """The token at which each document of [first, last) begins, and at last the one at which they end."""
        boundaries = np.array(self.document_indices[first : last + 1])
        bounds = np.full(len(boundaries), self.token_count, np.int64)
        inside = boundaries < self.sequence_count
        bounds[inside] = self.sequence_pointers[boundaries[inside]] // self.token_bytes
        return bounds

    def document_blocks(self, at_once: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """All documents, some at once: the number of the first, and the bounds of all."""
        for first in range(0, self.document_count, at_once):
            yield first, self.document_bounds(first, min(first + at_once, self.document_count))

    def document_at(self, token: int) -> int:
        """The document that a token of .bin belongs to; by binary search.

        Raises:
            IndexError: there is no such token.
        """
        if not 0 <= token < self.token_count:
            raise IndexError(f"token {token} of {self.token_count}")
        # bisect and not numpy, which would copy the whole of an array that lies unaligned in the file. Of several that
        # begin at one place, only the last has tokens.
        sequence = bisect.bisect_right(self.sequence_pointers, token * self.token_bytes) - 1
        return bisect.bisect_right(self.document_indices, sequence) - 1

    def document_starts_between(self, start: int, stop: int) -> NDArray[np.int64]:
        """Ascending tokens in [start, stop) at which a document begins; by binary search."""
        starts: NDArray[np.int64] = self._compiled.document_starts_between(start, stop)
        return starts

    @property
    def damaged_files(self) -> list[str]:
        """Files of which a read inside :func:`steel_megatron.tokens.data_file.guarded_reads` has missed a part."""
        return self._compiled.damaged

    def check_files(self) -> None:
        """Whether the files are still those that were opened; reads nothing of them.

        Raises:
            DataError: one is gone, another one, or was changed.
        """
        for file in self._files:
            file.check()

    def validate(self) -> None:
        """Looks at every entry of the index.

        Raises:
            DataError: names the first wrong entry, its byte, what is there and what was expected.
        """
        self._compiled.validate()

    def _index_array(self, dtype: str, count: int, offset: int) -> NDArray[Any]:
        return np.frombuffer(self._compiled.idx_bytes, dtype, count, offset)


class IndexedWriter(_Counted):
    """Writes a dataset in constant memory; nothing has its final name before :meth:`finish`.

    As a context manager it finishes on success and removes its files on an exception. A killed run leaves files named
    ``PREFIX.*.partial``, which nobody takes for a dataset and the next writer overwrites. A prefix that another process
    is writing is refused. One thread at a time uses a writer.

    Args:
        prefix: path without .bin or .idx.
        dtype: type of the ids in the file; an id that it cannot hold is refused.
    """

    def __init__(self, prefix: str | os.PathLike[str], dtype: str | np.dtype[Any] = "int32") -> None:
        self.prefix = os.fspath(prefix)
        self.token_type = dtype if isinstance(dtype, str) else dtype.name
        self.dtype = shown(self.token_type)
        self._compiled = _indexed.Writer(self.prefix, self.token_type)

    def add_document(self, document: ArrayLike | Sequence[ArrayLike]) -> None:
        """One document: an array of ids, or a list of arrays, one per sequence.

        An empty array makes a document without a sequence; an empty array in a list, a sequence without tokens.

        Raises:
            DataError: an id does not fit the dtype (nothing is written then), or the disk is full.
        """
        if isinstance(document, (list, tuple)) and document and np.ndim(document[0]) == 1:
            sequences = [self._ids(sequence) for sequence in document]
            lengths = [len(sequence) for sequence in sequences]
            self._compiled.add_sequences(np.concatenate(sequences), np.array(lengths, np.int64))
            self._compiled.end_document()
        else:
            self._compiled.add_document(self._ids(document))

    def add_many(self, ids: ArrayLike, lengths: ArrayLike) -> None:
        """Documents of one sequence each; the fast way for many.

        Args:
            ids: those of all documents, one after the other.
            lengths: number of ids of each. 0 makes a document without a sequence, as Megatron does for an empty text.

        Raises:
            DataError: an id does not fit the dtype or the lengths do not add up (nothing is written then), or the disk
                is full.
        """
        counts = np.asarray(lengths)
        if counts.size and counts.dtype.kind not in "iu":
            raise DataError(f"lengths of type {counts.dtype}", rule="lengths are whole numbers")
        self._compiled.add_documents(self._ids(ids), counts.astype(np.int64, copy=False))

    def _ids(self, ids: Any) -> NDArray[Any]:
        array = np.asarray(ids)
        return array if array.size else np.empty(0, self.dtype)  # numpy makes an empty list an array of floats

    def append_dataset(self, prefix: str | os.PathLike[str], progress: Callable[[int], object] | None = None) -> None:
        """All documents of another dataset of the same type, in constant memory.

        Args:
            progress: called with the bytes of ``.bin`` copied since the last call.

        Raises:
            DataError: the other dataset is damaged, of another type or multimodal (nothing is written then), or the
                disk is full.
        """
        self._compiled.append_dataset(os.fspath(prefix), progress)

    def finish(self) -> None:
        """Writes the index and gives the files their names; an older dataset of that prefix is replaced."""
        self._compiled.finish()

    def abort(self) -> None:
        """Removes what was written; nothing after :meth:`finish`."""
        self._compiled.abort()

    def __enter__(self) -> IndexedWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._compiled.closed:
                self.finish()
        finally:
            self.abort()  # does nothing after a finish that went well
