"""Whether two datasets hold the same documents: in order, and in any order."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray
from tqdm import tqdm

from steel_megatron.jobs.tables import plain_table
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.tokens.manifest import Manifest

BLOCK = 1 << 16  # documents looked at together


@dataclass(frozen=True)
class Comparison:
    """What two datasets have in common; pairs are (first, second).

    ``first_difference`` is the first document that differs or that one of them lacks, None if the documents are the
    same in the same order. ``shared`` counts documents that both have, wherever they stand; one that is there several
    times counts as often as both have it. ``same_tokenizer`` is None where a manifest is missing.
    """

    prefixes: tuple[str, str]
    dtypes: tuple[str, str]
    documents: tuple[int, int]
    tokens: tuple[int, int]
    same_tokenizer: bool | None
    first_difference: int | None
    shared: int


def compare_datasets(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> Comparison:
    """Reads both datasets once; memory is 8 bytes per document.

    Raises:
        DataError: one of them is missing or damaged.
    """
    one, two = IndexedDataset(first), IndexedDataset(second)
    for dataset in (one, two):
        dataset.validate()
    manifests = Manifest.find(one.prefix), Manifest.find(two.prefix)
    same_tokenizer = None
    if manifests[0] is not None and manifests[1] is not None:
        same_tokenizer = manifests[0].tokenizer.fingerprint == manifests[1].tokenizer.fingerprint
    with tqdm(total=one.document_count + two.document_count, desc="compare", unit="document", disable=None) as bar:
        hashes = tuple(_hashes(dataset, bar) for dataset in (one, two))
    upto = min(len(hashes[0]), len(hashes[1]))
    different = np.flatnonzero(hashes[0][:upto] != hashes[1][:upto])
    first_difference: int | None = int(different[0]) if len(different) else upto
    if first_difference == len(hashes[0]) == len(hashes[1]):
        first_difference = None
    return Comparison(
        prefixes=(one.prefix, two.prefix),
        dtypes=(one.token_type, two.token_type),
        documents=(one.document_count, two.document_count),
        tokens=(one.token_count, two.token_count),
        same_tokenizer=same_tokenizer,
        first_difference=first_difference,
        shared=_shared(*hashes),
    )


def comparison_text(found: Comparison) -> str:
    """The comparison for reading."""
    tokenizer = {True: "the same", False: "different", None: "not known: a manifest is missing"}[found.same_tokenizer]
    rows = [
        ("", *found.prefixes),
        ("type", *found.dtypes),
        ("documents", *(f"{count:,}" for count in found.documents)),
        ("tokens", *(f"{count:,}" for count in found.tokens)),
        ("only here", *(f"{count - found.shared:,}" for count in found.documents)),
    ]
    lines = [plain_table(rows, right=False)]
    lines += [f"tokenizer: {tokenizer}", f"shared: {found.shared:,} documents in any order"]
    if found.first_difference is None:
        lines.append("the documents are the same, in the same order")
    else:
        lines.append(f"the first difference in order is document {found.first_difference:,}")
    return "\n".join(lines)


def _hashes(dataset: IndexedDataset, bar: tqdm) -> NDArray[np.uint64]:
    """A hash of each document's ids, the same for every type of integer."""
    found = np.empty(dataset.document_count, np.uint64)
    for begin, bounds in dataset.document_blocks(BLOCK):
        for number, (start, stop) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True), begin):
            ids = dataset.tokens[start:stop]
            found[number] = xxhash.xxh3_64_intdigest(ids.astype("<f8" if ids.dtype.kind == "f" else "<i8").data)
        bar.update(len(bounds) - 1)
    return found


def _shared(one: NDArray[np.uint64], two: NDArray[np.uint64]) -> int:
    (values, counts), (others, other_counts) = (np.unique(hashes, return_counts=True) for hashes in (one, two))
    _, here, there = np.intersect1d(values, others, assume_unique=True, return_indices=True)
    return int(np.minimum(counts[here], other_counts[there]).sum())
