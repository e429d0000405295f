"""What is in a dataset: its numbers, one of its documents, and whether its files are as they were made."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from steel_megatron.config import DataError
from steel_megatron.jobs.hashes import HASH_BLOCK, hash_file, hash_like
from steel_megatron.tokenizer import Tokenizer
from steel_megatron.tokens.document_lengths import DocumentLengths, document_lengths
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.tokens.manifest import Manifest
from steel_megatron.tokens.manifest_check import check_belongs, check_hash
from steel_megatron.tokens.token_type import from_stored, stored


@dataclass(frozen=True)
class DatasetReport:
    """The numbers of a dataset; ``lengths`` is None without documents."""

    prefix: str
    dtype: str
    documents: int
    sequences: int
    tokens: int
    bin_bytes: int
    idx_bytes: int
    multimodal: bool
    lengths: DocumentLengths | None
    manifest: Manifest | None


@dataclass(frozen=True)
class DocumentReport:
    """One document; ``text`` is None without a tokenizer."""

    prefix: str
    document: int
    sequence_lengths: list[int]
    ids: list[int] | list[float]
    text: str | None


@dataclass(frozen=True)
class Verification:
    """What :func:`verify` found right; ids are None where there is no token, hashes False without a manifest."""

    smallest_id: int | float | None
    largest_id: int | float | None
    hashes_checked: bool


def inspect_dataset(prefix: str | os.PathLike[str]) -> DatasetReport:
    """Reads and checks the whole index, and no token.

    Raises:
        DataError: a file is missing or damaged, or the manifest belongs to other files.
    """
    dataset = IndexedDataset(prefix)
    dataset.validate()
    manifest = Manifest.find(prefix)
    if manifest is not None:
        check_belongs(dataset, manifest)
    return DatasetReport(
        prefix=dataset.prefix,
        dtype=dataset.token_type,
        documents=dataset.document_count,
        sequences=dataset.sequence_count,
        tokens=dataset.token_count,
        bin_bytes=os.path.getsize(dataset.prefix + ".bin"),
        idx_bytes=os.path.getsize(dataset.prefix + ".idx"),
        multimodal=dataset.multimodal,
        lengths=document_lengths(dataset),
        manifest=manifest,
    )


def inspect_document(prefix: str | os.PathLike[str], number: int, tokenizer: Tokenizer | None) -> DocumentReport:
    """One document, found in constant time.

    Args:
        number: from 0.
        tokenizer: decodes the ids; the one that the manifest names, if there is one.

    Raises:
        DataError: no such document, another tokenizer, or an id that the tokenizer does not have.
    """
    dataset = IndexedDataset(prefix)
    count = dataset.document_count
    if not 0 <= number < count:
        raise DataError(
            f"document {number} of {dataset.prefix}",
            rule=f"its documents are 0 to {count - 1:,}" if count else "it has no document",
        )
    ids = dataset.document(number)
    first, last = dataset.document_indices[number : number + 2]
    return DocumentReport(
        prefix=dataset.prefix,
        document=number,
        sequence_lengths=dataset.sequence_lengths[first:last].tolist(),
        ids=ids.tolist(),
        text=None if tokenizer is None else decode_ids(dataset, ids, tokenizer),
    )


def decode_ids(dataset: IndexedDataset, ids: np.ndarray, tokenizer: Tokenizer) -> str:
    """The text of some tokens of a dataset.

    Raises:
        DataError: another tokenizer made them, or they are no ids of this one.
    """
    manifest = Manifest.find(dataset.prefix)
    if manifest is not None and manifest.tokenizer.fingerprint != tokenizer.fingerprint:
        raise DataError(
            f"{dataset.prefix} was made with tokenizer {manifest.tokenizer.fingerprint} ({manifest.tokenizer.type}), "
            f"--tokenizer-model is {tokenizer.fingerprint} ({tokenizer.type})",
            rule="ids mean something to the tokenizer that made them",
            fix="give the tokenizer of the data",
        )
    if ids.dtype.kind == "f":
        raise DataError(f"{dataset.prefix} holds {ids.dtype.name}", rule="only whole numbers are decoded")
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < tokenizer.vocab_size:
        raise DataError(
            f"{dataset.prefix} has token ids {int(ids.min())} to {int(ids.max())} here",
            rule=f"the tokenizer's ids are 0 to {tokenizer.vocab_size - 1}",
            fix="give the tokenizer of the data",
        )
    return tokenizer.decode(ids.tolist())


def verify(prefix: str | os.PathLike[str], progress: Callable[[int], object] | None = None) -> Verification:
    """Checks the whole index, reads every token, and compares hashes and ids with the manifest if there is one.

    Args:
        progress: called with the bytes of ``.bin`` read since the last call.

    Raises:
        DataError: names the first thing that is wrong.
    """
    dataset = IndexedDataset(prefix)
    dataset.validate()
    manifest = Manifest.find(prefix)
    digest = hash_like(manifest.outputs["bin"].sha256 if manifest else "")
    smallest: int | float | None = None
    largest: int | float | None = None
    with open(dataset.prefix + ".bin", "rb") as file:
        while block := file.read(HASH_BLOCK - HASH_BLOCK % dataset.token_bytes):
            digest.update(block)
            ids = from_stored(np.frombuffer(block, stored(dataset.token_type)))
            low, high = ids.min().item(), ids.max().item()
            smallest = low if smallest is None else min(smallest, low)
            largest = high if largest is None else max(largest, high)
            if progress is not None:
                progress(len(block))
    if manifest is not None:
        check_belongs(dataset, manifest)
        for name, found in (("bin", digest.hexdigest()), ("idx", hash_file(dataset.prefix + ".idx").sha256)):
            check_hash(dataset.prefix, name, found, manifest)
        _check_ids(dataset.prefix, smallest, largest, manifest)
    return Verification(smallest, largest, hashes_checked=manifest is not None)


def _check_ids(prefix: str, smallest: float | None, largest: float | None, manifest: Manifest) -> None:
    if smallest is not None and smallest < 0:
        raise DataError(f"{prefix}.bin holds token id {smallest}", rule="ids are not negative")
    if (-1 if largest is None else largest) != manifest.largest_id:
        raise DataError(
            f"{prefix}.bin has ids up to {largest}, its manifest says {manifest.largest_id}",
            rule="a manifest belongs to the files beside it",
            fix="tokenise the data again",
        )
