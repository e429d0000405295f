"""Token ids as other programs keep them: lit-gpt's packed files, parquet with a list column, numpy arrays.

A file's kind is told from its first bytes. Each reader gives documents in order, many at a time and in constant memory:
flat ids, and the number of ids of each document.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.readers.parquet import open_parquet
from steel_megatron.jobs.files import is_url
from steel_megatron.jobs.inputs import find_inputs

Documents = tuple[NDArray[Any], NDArray[np.int64]]  # flat ids, lengths

# LITPKDS: PackedDataset of lit-gpt and TinyLlama: magic, version, type, number of ids, then the ids of one chunk.
LITPKDS = struct.Struct("<7sQBQ")
LITPKDS_MAGIC = b"LITPKDS"
LITPKDS_TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}  # 6 and 7 are floats
MAGICS = {LITPKDS_MAGIC: "litpkds", b"\x93NUMPY": "npy", b"PAR1": "parquet"}
IDS = 1 << 22  # read at once
ROWS = 1 << 12  # rows of parquet read at once


def kind_of(path: Path) -> str | None:
    """``litpkds``, ``npy`` or ``parquet``; None for another file."""
    with open(path, "rb") as file:
        head = file.read(8)
    return next((kind for magic, kind in MAGICS.items() if head.startswith(magic)), None)


def find_token_files(inputs: Iterable[str | os.PathLike[str]]) -> tuple[str, list[Path]]:
    """The kind and the files; those of a folder that are of no known kind are passed over.

    Raises:
        DataError: no file, a file of no known kind, or files of several kinds.
    """
    files: dict[str, list[Path]] = {}
    for file in find_inputs(inputs).files:
        if is_url(file.location):
            raise DataError(f"{file.location} is a URL", rule="files of token ids are mapped", fix="download it first")
        kind = kind_of(path := Path(file.location))
        if kind is not None:
            files.setdefault(kind, []).append(path)
        elif not file.searched:
            raise DataError(
                f"{path} is no file of token ids",
                rule="it is a LITPKDS file of lit-gpt, parquet or .npy, told from its first bytes",
            )
    if len(files) != 1:
        found = f"files of {' and '.join(sorted(files))}" if files else "no file of token ids"
        raise DataError(f"{found} in --input", rule="the files are of one kind", fix="give those of one kind at a time")
    return files.popitem()


class Splitter:
    """Cuts a stream of ids, which may go on over several files, into documents at a marker.

    Args:
        begin_id: each document begins with it; or
        end_id: each document ends with it. The marker stays with its document; a document of nothing else is padding.
    """

    def __init__(self, begin_id: int | None = None, end_id: int | None = None) -> None:
        self.begins = begin_id is not None
        self.marker = begin_id if begin_id is not None else end_id
        self.padding = 0  # ids left out
        self._rest: list[NDArray[Any]] = []

    def feed(self, ids: NDArray[Any]) -> Documents:
        """The documents that are complete with these ids."""
        places = np.flatnonzero(ids == self.marker) + (0 if self.begins else 1)
        if not len(places):
            self._rest.append(np.array(ids))
            return ids[:0], np.empty(0, np.int64)
        head = np.concatenate([*self._rest, ids[: places[0]]])
        self._rest = [np.array(ids[places[-1] :])]
        lengths = np.concatenate(([len(head)], np.diff(places)))
        return self._without_padding(np.concatenate([head, ids[places[0] : places[-1]]]), lengths)

    def finish(self) -> Documents:
        """What is left when the stream ends: its last document."""
        ids = np.concatenate(self._rest) if self._rest else np.empty(0, np.int64)
        self._rest = []
        return self._without_padding(ids, np.array([len(ids)], np.int64))

    def _without_padding(self, ids: NDArray[Any], lengths: NDArray[np.int64]) -> Documents:
        starts = np.cumsum(lengths) - lengths
        alone = (
            (lengths == 1) & (ids[np.minimum(starts, max(len(ids) - 1, 0))] == self.marker)
            if len(ids)
            else lengths == 1
        )
        self.padding += int(alone.sum())
        kept = ~alone & (lengths > 0)
        return ids[np.repeat(~alone, lengths)], lengths[kept]


def stream_of(path: Path, kind: str) -> Iterator[NDArray[Any]]:
    """The ids of a file one after the other, many at a time."""
    flat = litpkds_ids(path) if kind == "litpkds" else npy_array(path).reshape(-1)
    for start in range(0, len(flat), IDS):
        yield flat[start : start + IDS]


def litpkds_ids(path: Path) -> NDArray[Any]:
    """The ids of one packed file, mapped.

    Raises:
        DataError: another version, a type of no ids, or a file of another size than its head tells.
    """
    with open(path, "rb") as file:
        head = file.read(LITPKDS.size)
    if len(head) < LITPKDS.size:
        raise DataError(f"{path} has {len(head)} bytes", rule=f"a LITPKDS file has a head of {LITPKDS.size}")
    _, version, code, count = LITPKDS.unpack(head)
    if version != 1 or code not in LITPKDS_TYPES:
        raise DataError(
            f"{path} has version {version} and type {code}",
            rule=f"LITPKDS files of version 1 with integer types ({', '.join(map(str, LITPKDS_TYPES))}) are read",
        )
    dtype = np.dtype(LITPKDS_TYPES[code])
    size, expected = path.stat().st_size, LITPKDS.size + count * dtype.itemsize
    if size != expected:
        raise DataError(
            f"{path} has {size:,} bytes, its head tells of {count:,} ids of {dtype.itemsize} bytes: {expected:,}",
            fix="copy the file again",
        )
    return np.memmap(path, dtype, "r", LITPKDS.size, (count,)) if count else np.empty(0, dtype)


def npy_array(path: Path) -> NDArray[Any]:
    """The array of a ``.npy`` file, mapped.

    Raises:
        DataError: it cannot be read, holds no integers, or has more than two axes.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(
            f"cannot read {path}: {error}", rule="it holds an array of ids, without Python objects"
        ) from None
    if array.dtype.kind not in "iu" or not 1 <= array.ndim <= 2 or not array.flags.c_contiguous:
        raise DataError(
            f"{path} holds {array.dtype} of {array.ndim} axes",
            rule="ids are whole numbers in one axis, or with a document in each row",
            fix="save it as a C-contiguous array of integers",
        )
    return array


def npy_documents(path: Path) -> Iterator[Documents]:
    """Each row a document; an array of one axis is one document."""
    array = np.atleast_2d(npy_array(path))
    rows = max(IDS // max(array.shape[1], 1), 1)
    for start in range(0, len(array), rows):
        taken = array[start : start + rows]
        yield taken.reshape(-1), np.full(len(taken), array.shape[1], np.int64)


def parquet_documents(path: Path, column: str | None, reject: Callable[[str, str], None]) -> Iterator[Documents]:
    """Each row's list of ids a document.

    Args:
        column: unset: the only one with lists of whole numbers.
        reject: called with a reason and a detail in the place of a row that is no document.

    Raises:
        ConfigError: no such column, or several that it could be.
        DataError: the file is damaged.
    """
    with open_parquet(path) as file:
        name = _column(path, file.schema_arrow, column)
        for batch in file.iter_batches(ROWS, columns=[name]):
            lists = batch.column(0)
            if lists.null_count or lists.flatten().null_count:
                for row in lists.to_pylist():
                    if row is None:
                        reject("null", f"column {name!r} is null")
                    elif None in row:
                        reject("null_id", f"column {name!r} has a null in its list")
                    else:
                        yield np.array(row, np.int64), np.array([len(row)])
            else:
                lengths = lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
                yield lists.flatten().to_numpy(zero_copy_only=False), lengths


def _column(path: Path, schema: Any, column: str | None) -> str:
    import pyarrow.types as types

    def holds_ids(kind: Any) -> bool:
        return (types.is_list(kind) or types.is_large_list(kind)) and types.is_integer(kind.value_type)

    found = [field.name for field in schema if holds_ids(field.type)]
    if column is not None:
        if column not in found:
            raise ConfigError(
                f"--column {column}: {path} has lists of whole numbers in {', '.join(found) or 'no column'}"
            )
        return column
    if len(found) != 1:
        raise ConfigError(
            f"{path} has lists of whole numbers in {', '.join(found) or 'no column'}", fix="name one with --column"
        )
    return found[0]
