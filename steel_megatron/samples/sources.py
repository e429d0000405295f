"""One source: its files opened, its documents divided, and checked against the model's tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from steel_megatron.config import DataError
from steel_megatron.samples.cutting.packed_windows import PackedWindows
from steel_megatron.samples.cutting.packing_index import packing_index
from steel_megatron.samples.cutting.windows import SourceWindows, Windows
from steel_megatron.samples.split import split_documents
from steel_megatron.tokens.indexed import IndexedDataset, missing_files
from steel_megatron.tokens.manifest import Manifest
from steel_megatron.tokens.manifest_check import check_belongs

FINGERPRINT_BLOCKS = 16
FINGERPRINT_TOKENS = 1024  # of each block


@dataclass
class Source:
    """An opened dataset and its windows in each split."""

    name: str
    path: str
    dataset: IndexedDataset
    manifest: Manifest | None
    windows: dict[str, Windows]  # by split
    fingerprint: str

    def describe(self) -> str:
        """Name, path and the splits in numbers, for errors."""
        parts = [f"{key} {part.documents:,} documents, {part.tokens:,} tokens" for key, part in self.windows.items()]
        return f"source {self.name!r} ({self.path}): " + "; ".join(parts)


@dataclass(frozen=True)
class TokenizerFacts:
    """What data and model have to agree on; None: unknown."""

    fingerprint: str | None = None
    vocab_size: int | None = None  # without padding
    eod_id: int | None = None


@dataclass(frozen=True)
class PackingOptions:
    """How samples are cut from documents."""

    best_fit: bool = False
    cache: str | None = None  # folder of the index files that best fit needs; None: beside the data


def open_source(
    name: str,
    path: str,
    seq_length: int,
    split: str | None,
    whole_for: str = "train",
    packing: PackingOptions = PackingOptions(),
) -> Source:
    """Opens a dataset by its prefix.

    Args:
        split: shares of documents for train, valid and test; None: every document is for ``whole_for``.
        packing: with best fit, the first call for a dataset reads its index and writes a file.

    Raises:
        DataError: a file is missing or damaged, or the manifest belongs to other files.
    """
    check_files(name, path)
    dataset = IndexedDataset(path)
    manifest = Manifest.find(path)
    if manifest is not None:
        check_belongs(dataset, manifest)
    documents = dataset.document_count
    ranges = {whole_for: (0, documents)} if split is None else split_documents(documents, split)
    fingerprint = content_fingerprint(dataset)
    windows: dict[str, Windows] = {}
    for key, (first, last) in ranges.items():
        if packing.best_fit:
            index = packing_index(dataset, fingerprint, (first, last), seq_length, packing.cache)
            windows[key] = PackedWindows(dataset, (first, last), seq_length, index)
        else:
            windows[key] = SourceWindows(dataset, first, last, seq_length)
    return Source(name, path, dataset, manifest, windows, fingerprint)


def check_files(name: str, path: str) -> None:
    """Refuses a prefix without ``.bin`` and ``.idx``, with a guess at what was meant."""
    if not (missing := missing_files(path)):
        return
    near = Path(path)
    if near.suffix in (".bin", ".idx"):
        guesses = [near.with_suffix("")]
    else:
        found = sorted(near.glob("*.idx")) if near.is_dir() else sorted(near.parent.glob(f"{near.name}*.idx"))
        guesses = [index.with_suffix("") for index in found]
    raise DataError(
        f"source {name!r}: no file {missing}",
        rule="a dataset is given by its prefix, to which .bin and .idx are added",
        fix=f"did you mean {guesses[0]}?" if guesses else "check the path, or make the dataset with 'steel tokenize'",
    )


def content_fingerprint(dataset: IndexedDataset) -> str:
    """Tells one dataset from another by its counts and a few blocks of tokens, in constant time.

    The same for a copy elsewhere, with or without a manifest.
    """
    tokens = dataset.tokens
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{tokens.dtype.str} {len(tokens)} {dataset.sequence_count} {dataset.document_count}".encode())
    last = max(len(tokens) - FINGERPRINT_TOKENS, 0)
    for block in range(FINGERPRINT_BLOCKS):
        start = last * block // (FINGERPRINT_BLOCKS - 1)
        digest.update(tokens[start : start + FINGERPRINT_TOKENS].tobytes())
    return digest.hexdigest()


def check_tokenizer(sources: Iterable[Source], model: TokenizerFacts) -> TokenizerFacts:
    """Refuses data that another tokenizer made, or whose tokens are not all in the model's vocabulary.

    A source without a manifest passes: its tokens are compared with the vocabulary as they are read.

    Returns:
        The model's facts, with what it does not know taken from the manifests.

    Raises:
        DataError: with the values found and expected.
    """
    fingerprint, vocab_size, eod_id = model.fingerprint, model.vocab_size, model.eod_id
    given_by = "the model's tokenizer"
    known = [(source, source.manifest) for source in sources if source.manifest is not None]
    for source, manifest in known:
        found = manifest.tokenizer.fingerprint
        if fingerprint is None:
            fingerprint, given_by = found, f"source {source.name!r}"
        elif found != fingerprint:
            raise DataError(
                f"source {source.name!r} ({source.path}) was made with tokenizer {found}, {given_by} is {fingerprint}",
                rule="data and model share one tokenizer",
                fix="point --tokenizer-model to the tokenizer of the data, or tokenise the data again with this one",
            )
        if vocab_size is not None and manifest.vocabulary_needed > vocab_size:
            raise DataError(
                f"source {source.name!r} ({source.path}) has token ids up to {manifest.vocabulary_needed - 1}, "
                f"the model's vocabulary ends at {vocab_size - 1}",
                rule="every token of the data is in the model's vocabulary",
                fix=f"set --vocab-size to {manifest.vocabulary_needed} or more, or tokenise the data again",
            )
        eod_id = manifest.tokenizer.eod_id if eod_id is None else eod_id
    if vocab_size is None and known:
        vocab_size = max(manifest.tokenizer.vocab_size for _, manifest in known)
    return TokenizerFacts(fingerprint, vocab_size, eod_id)
