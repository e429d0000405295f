"""The manifest of joined datasets from the manifests of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from steel_megatron.config import DataError
from steel_megatron.jobs.hashes import FileRecord
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.tokens.manifest import Manifest, TokenizerRecord, manifest_path
from steel_megatron.tokens.manifest_check import check_belongs

UNCHECKED = "--no-manifest merges without looking at manifests, and writes none"


def read_manifests(prefixes: Sequence[str]) -> dict[str, Manifest]:
    """The manifests by prefix; empty when no dataset has one.

    Raises:
        DataError: some datasets have a manifest and others not, one belongs to other files, or they do not go together.
    """
    found = {prefix: Manifest.find(prefix) for prefix in prefixes}
    without = [prefix for prefix, manifest in found.items() if manifest is None]
    manifests = {prefix: manifest for prefix, manifest in found.items() if manifest is not None}
    if not manifests:
        return {}
    if without:
        raise DataError(
            f"no file {manifest_path(without[0])}, while {manifest_path(next(iter(manifests)))} is there",
            rule="what is joined has one tokenizer, which only manifests tell",
            fix=UNCHECKED,
        )
    for prefix, manifest in manifests.items():
        check_belongs(IndexedDataset(prefix), manifest)
    (first, one), *others = manifests.items()
    for prefix, other in others:
        check_same(first, one, prefix, other)
    return manifests


def check_same(first: str, one: Manifest, second: str, other: Manifest) -> None:
    """Refuses two datasets that one manifest cannot describe."""
    if one.tokenizer.fingerprint != other.tokenizer.fingerprint:
        raise DataError(
            f"{first} was made with tokenizer {one.tokenizer.fingerprint} ({one.tokenizer.type}), "
            f"{second} with {other.tokenizer.fingerprint} ({other.tokenizer.type})",
            rule="datasets that are joined have one tokenizer",
            fix="tokenise one of them again with the other's tokenizer",
        )
    if _end(one) != _end(other):
        raise DataError(
            f"documents of {first} end {_end(one)}, those of {second} {_end(other)}",
            rule="all documents of a dataset end alike",
            fix="tokenise one of them again with the other's --append-eod",
        )


def _end(manifest: Manifest) -> str:
    return f"with id {manifest.tokenizer.eod_id}" if manifest.append_eod else "without an end-of-document id"


def join_manifests(manifests: Sequence[Manifest], outputs: Mapping[str, FileRecord]) -> Manifest:
    """One manifest for all; counts are summed, inputs listed in order."""
    tokenizer = manifests[0].tokenizer
    rejects: Counter[str] = Counter()
    for manifest in manifests:
        rejects.update(manifest.rejects)
    return Manifest(
        key=",".join(dict.fromkeys(manifest.key for manifest in manifests)),
        append_eod=manifests[0].append_eod,
        tokenizer=TokenizerRecord(
            tokenizer.type,
            tokenizer.fingerprint,
            max(manifest.tokenizer.vocab_size for manifest in manifests),
            tokenizer.eod_id,
        ),
        dtype=manifests[0].dtype,
        inputs=tuple(record for manifest in manifests for record in manifest.inputs),
        documents=sum(manifest.documents for manifest in manifests),
        tokens=sum(manifest.tokens for manifest in manifests),
        largest_id=max(manifest.largest_id for manifest in manifests),
        text_bytes=sum(manifest.text_bytes for manifest in manifests),
        blank_lines=sum(manifest.blank_lines for manifest in manifests),
        rejects=dict(sorted(rejects.items())),
        outputs=dict(outputs),
    )
