"""One dataset being written by a tokenising run, and what an earlier run left in its place."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from steel_megatron.config import DataError
from steel_megatron.dataset.indexed import IndexedWriter
from steel_megatron.dataset.manifest import (
    FileRecord,
    Manifest,
    TokenizerRecord,
    hash_file,
    manifest_path,
    partial_path,
)
from steel_megatron.dataset.tokenize_block import KeyTokens, TokenizeJob


def dataset_prefix(output_prefix: str | os.PathLike[str], key: str) -> str:
    """Megatron's name of the dataset of one key, without ``.bin`` or ``.idx``."""
    return f"{os.fspath(output_prefix)}_{key}_document"


class DatasetOutput:
    """Takes the documents of one key in order; the ``.bin`` is hashed as it is written."""

    def __init__(self, prefix: str, key: str, dtype: str) -> None:
        self.prefix = prefix
        self.key = key
        self.documents = self.tokens = self.text_bytes = 0
        self.largest_id = -1
        self._digest = hashlib.sha256()
        self._writer = IndexedWriter(prefix, dtype)
        self._open = True
        # Says until the manifest takes its name that what is here is the work of an unfinished run.
        partial_path(prefix).touch()

    def add(self, tokens: KeyTokens) -> None:
        self._writer.add_many(tokens.ids_T, tokens.lengths_B)
        self._digest.update(tokens.ids_T.data)
        self.documents += len(tokens.lengths_B)
        self.tokens += len(tokens.ids_T)
        self.text_bytes += tokens.text_bytes
        if len(tokens.ids_T):
            self.largest_id = max(self.largest_id, int(tokens.ids_T.max()))

    def finish(
        self, job: TokenizeJob, inputs: Sequence[FileRecord], rejects: Mapping[str, int], blank_lines: int
    ) -> Manifest:
        """Gives the files their names, the manifest last. What an earlier run left there goes first."""
        manifest_path(self.prefix).unlink(missing_ok=True)
        self._remove_files()
        try:
            self._writer.finish()
            manifest = self._manifest(job, inputs, rejects, blank_lines)
            manifest.write(self.prefix)
        except BaseException:
            self._remove_files()
            raise
        self._open = False
        return manifest

    def abort(self) -> None:
        """Leaves no file of this run, unless it has finished."""
        if self._open:
            self._writer.abort()
            partial_path(self.prefix).unlink(missing_ok=True)
            self._open = False

    def _remove_files(self) -> None:
        for suffix in (".idx", ".bin"):
            Path(self.prefix + suffix).unlink(missing_ok=True)

    def _manifest(
        self, job: TokenizeJob, inputs: Sequence[FileRecord], rejects: Mapping[str, int], blank_lines: int
    ) -> Manifest:
        bin_path, idx_path = self.prefix + ".bin", self.prefix + ".idx"
        return Manifest(
            key=self.key,
            append_eod=job.eod_id is not None,
            tokenizer=TokenizerRecord.of(job.tokenizer),
            dtype=job.dtype,
            inputs=tuple(inputs),
            documents=self.documents,
            tokens=self.tokens,
            largest_id=self.largest_id,
            text_bytes=self.text_bytes,
            blank_lines=blank_lines,
            rejects=dict(sorted(rejects.items())),
            outputs={
                "bin": FileRecord(os.path.basename(bin_path), os.path.getsize(bin_path), self._digest.hexdigest()),
                "idx": replace(hash_file(idx_path), path=os.path.basename(idx_path)),
            },
        )


def finished_before(
    prefixes: Mapping[str, str], files: Sequence[Path], job: TokenizeJob, overwrite: bool
) -> dict[str, Manifest] | None:
    """The manifests by prefix when every dataset is there whole, from the same files, tokenizer and settings.

    None means that there is work to do.

    Args:
        prefixes: key → prefix of its dataset.

    Raises:
        DataError: something else is there and ``overwrite`` is not set.
    """
    if overwrite:
        return None
    found: dict[str, Manifest] = {}
    for key, prefix in prefixes.items():
        there = [suffix for suffix in (".bin", ".idx") if os.path.exists(prefix + suffix)]
        manifest = Manifest.find(prefix)
        if manifest is None and (not there or partial_path(prefix).exists()):
            continue  # nothing, or what a killed run left
        if manifest is None:
            difference = "it has no manifest, so another tool made it"
        else:
            difference = _difference(manifest, prefix, key, job) or _other_inputs(manifest, files)
        if difference:
            raise DataError(
                f"{prefix}{there[0] if there else '.manifest.json'} is there already, and {difference}",
                rule="a dataset is not replaced unasked",
                fix="use another --output-prefix, or --overwrite to replace it",
            )
        assert manifest is not None
        found[prefix] = manifest
    return found if len(found) == len(prefixes) else None


def _difference(manifest: Manifest, prefix: str, key: str, job: TokenizeJob) -> str:
    """In what a dataset differs from the one that the job would write of the same files; empty for nothing."""
    made, wanted = manifest.tokenizer, TokenizerRecord.of(job.tokenizer)
    if made.fingerprint != wanted.fingerprint:
        return f"it was made with another tokenizer ({made.type} {made.fingerprint}, now {wanted.fingerprint})"
    if manifest.append_eod != (job.eod_id is not None):
        return f"it was made {'with' if manifest.append_eod else 'without'} --append-eod"
    if manifest.append_eod and made.eod_id != job.eod_id:
        return f"its documents end with id {made.eod_id}, now {job.eod_id}"
    if (manifest.key, manifest.dtype) != (key, job.dtype):
        return f"it was made of key {manifest.key!r} as {manifest.dtype}, now {key!r} as {job.dtype}"
    for name, record in manifest.outputs.items():
        path = f"{prefix}.{name}"
        size = os.path.getsize(path) if os.path.exists(path) else None
        if size != record.bytes:
            return (
                f"{path} has {'gone' if size is None else f'{size:,} bytes'}, its manifest says {record.bytes:,} bytes"
            )
    return ""


def _other_inputs(manifest: Manifest, files: Sequence[Path]) -> str:
    """How the inputs differ in content or order from those of the manifest; empty for nothing."""
    if len(files) != len(manifest.inputs):
        return f"it was made of {len(manifest.inputs)} input files, now {len(files)}"
    sizes = [file.stat().st_size for file in files]
    for file, size, record in zip(files, sizes, manifest.inputs, strict=True):
        if size != record.bytes:
            return f"{file} has {size:,} bytes, then {record.path} had {record.bytes:,}"
    with tqdm(total=sum(sizes), desc="compare inputs", unit="B", unit_scale=True, disable=None) as bar:
        for file, record in zip(files, manifest.inputs, strict=True):
            if hash_file(file, bar.update).sha256 != record.sha256:
                return f"{file} has another content than {record.path} had"
    return ""
