"""Which pieces of documents make up each sample of ``--packing best-fit``: an index file, made once per dataset.

With samples of L tokens, a document of up to C = L + 1 tokens is one piece. A longer one is cut into pieces of C
tokens, each beginning with the last token of the one before, so that every token but the first is a label; only its
last piece is shorter. Pieces are put together block by block of neighbouring documents, so that memory stays constant.

All numbers are little-endian: ``HEAD``, then the first piece of each sample and at last the number of pieces (int64),
the token at which each piece begins (int64), the tokens of each piece (int32).
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from steel_megatron import _indexed
from steel_megatron.config import ConfigError
from steel_megatron.jobs.durable import sync
from steel_megatron.samples.cutting.best_fit import best_fit
from steel_megatron.tokens.indexed import IndexedDataset

log = logging.getLogger(__name__)

HEAD = struct.Struct("<8sQQQQ")  # magic, version, samples, pieces, tokens in the pieces
MAGIC = b"SMPACK\0\0"
VERSION = 1
BLOCK_DOCUMENTS = 1 << 19
BLOCK_PIECES = 1 << 20


class PackingIndex:
    """An index file, mapped; opening it reads its head only."""

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            _, _, self.samples, self.pieces, self.tokens = HEAD.unpack(file.read(HEAD.size))
        places = HEAD.size + 8 * (self.samples + 1)
        self.path = path
        self._file = _indexed.MappedFile(str(path))
        mapped = self._file.bytes
        self._first: NDArray[np.int64] = np.frombuffer(mapped, "<i8", self.samples + 1, HEAD.size)
        self._starts: NDArray[np.int64] = np.frombuffer(mapped, "<i8", self.pieces, places)
        self._lengths: NDArray[np.int32] = np.frombuffer(mapped, "<i4", self.pieces, places + 8 * self.pieces)

    @property
    def damaged_files(self) -> list[str]:
        """As of a dataset."""
        return [str(self.path)] if self._file.damaged else []

    def piece_ranges(self, sample: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first token of each piece of a sample, and its number of tokens."""
        first, last = (int(bound) for bound in self._first[sample : sample + 2])
        return np.array(self._starts[first:last]), self._lengths[first:last].astype(np.int64)


def packing_index(
    dataset: IndexedDataset, fingerprint: str, documents: tuple[int, int], seq_length: int, cache: str | None
) -> PackingIndex:
    """Opens the index of a range of documents, and makes it first if it is not there.

    Processes of one machine that want the same one wait for the first of them.

    Args:
        fingerprint: of the dataset's content; part of the file's name, as are the range and the length.
        cache: folder of the file; None: beside the dataset.

    Raises:
        ConfigError: the folder cannot be written.
    """
    key = f"{VERSION} {fingerprint} {documents[0]} {documents[1]} {seq_length} {BLOCK_DOCUMENTS} {BLOCK_PIECES}"
    digest = hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
    prefix = Path(dataset.prefix)
    folder = prefix.parent if cache is None else Path(cache)
    path = folder / f"{prefix.name}.best_fit_{seq_length}_{digest}.packing"
    if _is_whole(path):
        return PackingIndex(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(f"{path}.lock", "w")  # noqa: SIM115 - closed below
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written ({error.strerror}), where the index of --packing best-fit is to be",
            fix="name another folder with --data-cache-path",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_whole(path):
            build_index(path, dataset, documents, seq_length)
        Path(lock.name).unlink(missing_ok=True)
    return PackingIndex(path)


def build_index(path: Path, dataset: IndexedDataset, documents: tuple[int, int], seq_length: int) -> None:
    """Writes the index; it has its name once it is whole."""
    # Names of their own: where a file system has no locks, two machines may both be at it.
    own = f"{socket.gethostname()}.{os.getpid()}.partial"
    parts = [path.with_name(f"{path.name}.{part}.{own}") for part in ("first", "starts", "lengths", "whole")]
    samples = pieces = tokens = 0
    log.info("packing %s for --seq-length %d", dataset.prefix, seq_length)
    try:
        with open(parts[0], "wb") as first, open(parts[1], "wb") as starts, open(parts[2], "wb") as lengths:
            first.write(bytes(8))
            for starts_P, lengths_P, counts_N in _blocks(dataset, documents, seq_length):
                starts.write(starts_P.astype("<i8").tobytes())
                lengths.write(lengths_P.astype("<i4").tobytes())
                first.write((pieces + np.cumsum(counts_N)).astype("<i8").tobytes())
                samples += len(counts_N)
                pieces += len(starts_P)
                tokens += int(lengths_P.sum())
        with open(parts[3], "wb") as whole:
            whole.write(HEAD.pack(MAGIC, VERSION, samples, pieces, tokens))
            for part in parts[:3]:
                with open(part, "rb") as file:
                    shutil.copyfileobj(file, whole, 1 << 20)
        sync(parts[3])
        os.replace(parts[3], path)
        sync(path.parent)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def _blocks(
    dataset: IndexedDataset, documents: tuple[int, int], seq_length: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Of each block of documents: the pieces in the order of its samples, and the number of pieces of each sample."""
    begin, last = documents
    with tqdm(total=last - begin, desc="packing", unit="document", disable=None) as bar:
        while begin < last:
            end = min(begin + BLOCK_DOCUMENTS, last)
            bounds = dataset.document_bounds(begin, end)
            made = np.cumsum(pieces_of(np.diff(bounds), seq_length))
            taken = max(int(np.searchsorted(made, BLOCK_PIECES, side="right")), 1)
            starts_P, lengths_P = cut(bounds[: taken + 1], seq_length)
            if len(starts_P):
                bins_P = best_fit(lengths_P, seq_length + 1)
                order = np.argsort(bins_P, kind="stable")  # pieces of a sample stay in the order of the documents
                yield starts_P[order], lengths_P[order], np.bincount(bins_P)
            taken = min(taken, end - begin)
            begin += taken
            bar.update(taken)


def pieces_of(lengths: NDArray[np.int64], seq_length: int) -> NDArray[np.int64]:
    """Pieces of documents of these lengths."""
    return np.where(lengths > 0, np.maximum(-(-(lengths - 1) // seq_length), 1), 0)


def cut(bounds: NDArray[np.int64], seq_length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First token and length of each piece of the documents between the bounds."""
    lengths = np.diff(bounds)
    pieces = pieces_of(lengths, seq_length)
    owners = np.repeat(np.arange(len(lengths)), pieces)
    number = np.arange(len(owners)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return bounds[owners] + number * seq_length, np.minimum(lengths[owners] - number * seq_length, seq_length + 1)


def _is_whole(path: Path) -> bool:
    """Whether there is an index of the size that its head tells of."""
    try:
        with open(path, "rb") as file:
            magic, version, samples, pieces, _ = HEAD.unpack(file.read(HEAD.size))
            size = os.fstat(file.fileno()).st_size
    except (OSError, struct.error):
        return False
    return (magic, version, size) == (MAGIC, VERSION, HEAD.size + 8 * (samples + 1) + 12 * pieces)
