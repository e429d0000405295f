"""One dataset being written by a tokenising run, and what an earlier run left in its place."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from steel_megatron.config import DataError
from steel_megatron.jobs.files import state_of
from steel_megatron.jobs.hashes import FileRecord, hash_file
from steel_megatron.tokenizer import Tokenizer
from steel_megatron.tokens.indexed import IndexedWriter, WriterCounts
from steel_megatron.tokens.manifest import Manifest, TokenizerRecord, manifest_path, partial_path
from steel_megatron.tokens.tokenise.block import KeyTokens
from steel_megatron.tokens.tokenise.shuffled import Buckets


def dataset_prefix(output_prefix: str | os.PathLike[str], key: str) -> str:
    """Megatron's name of the dataset of one key, without ``.bin`` or ``.idx``."""
    return f"{os.fspath(output_prefix)}_{key}_document"


@dataclass(frozen=True)
class TokenizeJob:
    """What the datasets of a run are made with."""

    tokenizer: Tokenizer
    keys: tuple[str, ...]
    eod_id: int | None  # appended to each document; None: nothing is
    dtype: str  # "uint16" or "int32"
    shuffle_seed: int | None = None  # None: documents in the order of the input
    expected_bytes: int = 0  # of all inputs unpacked, about
    encoder: Mapping[str, Any] = field(default_factory=dict)
    suspects: Mapping[str, str] = field(default_factory=dict)  # as the manifest has them


class DatasetOutput:
    """Takes the documents of one key in order; the ``.bin`` is hashed as it is written.

    Args:
        state: what :meth:`sync` returned to the run that is continued.
    """

    def __init__(self, prefix: str, key: str, job: TokenizeJob, state: Mapping[str, Any] | None = None) -> None:
        self.prefix = prefix
        self.key = key
        self.job = job
        counts: list[int] = state["counts"] if state else [0, 0, 0, -1, 0]
        self.documents, self.tokens, self.text_bytes, self.largest_id, self.written_buckets = counts
        start = WriterCounts(*state["writer"]) if state else WriterCounts()
        self._writer = IndexedWriter(prefix, job.dtype, start)
        self._digest = hashlib.sha256()
        self._hash_again(start.tokens * np.dtype(job.dtype).itemsize)
        self._buckets: Buckets | None = None
        if job.shuffle_seed is not None:
            folder = Path(prefix + ".buckets.partial")
            self._buckets = Buckets(
                folder, job.dtype, job.shuffle_seed, job.expected_bytes, state["buckets"] if state else None
            )
        self._open = True
        # Says until the manifest takes its name that what is here is the work of an unfinished run.
        partial_path(prefix).touch()

    def add(self, tokens: KeyTokens) -> None:
        if self._buckets is None:
            self._write(tokens.ids_T, tokens.lengths_B)
        else:
            self._buckets.add(tokens.ids_T, tokens.lengths_B)
        self.documents += len(tokens.lengths_B)
        self.tokens += len(tokens.ids_T)
        self.text_bytes += tokens.text_bytes
        if len(tokens.ids_T):
            self.largest_id = max(self.largest_id, int(tokens.ids_T.max()))

    def write_shuffled(self, progress: Callable[[int], Any], after_bucket: Callable[[], Any]) -> None:
        """Writes the documents in their new order, after the last one has come; nothing where they keep their order.

        Args:
            progress: called with counts of bytes.
            after_bucket: called when more is written, for the state to be kept.
        """
        if self._buckets is None:
            return
        for bucket in self._buckets.shuffled(self.written_buckets):
            self._write(bucket.ids_T, bucket.lengths_B)
            progress(bucket.ids_T.nbytes)
            self.written_buckets += 1
            after_bucket()
            self._buckets.remove(self.written_buckets - 1)

    def sync(self) -> dict[str, Any]:
        """Waits until the disk has everything; returns what a run needs to go on from here."""
        return {
            "writer": self._writer.sync(),
            "buckets": self._buckets.sync() if self._buckets is not None else None,
            "counts": [self.documents, self.tokens, self.text_bytes, self.largest_id, self.written_buckets],
        }

    def finish(self, inputs: Sequence[FileRecord], rejects: Mapping[str, int], blank_lines: int) -> Manifest:
        """Gives the files their names, the manifest last. What an earlier run left there goes first."""
        manifest_path(self.prefix).unlink(missing_ok=True)
        self._remove_files()
        try:
            self._writer.finish()
            manifest = self._manifest(inputs, rejects, blank_lines)
            manifest.write(self.prefix)
        except BaseException:
            self._remove_files()
            raise
        self._open = False
        if self._buckets is not None:
            self._buckets.remove_all()
        return manifest

    def leave(self) -> None:
        """Leaves the files for a run that goes on, unless this one has finished."""
        if self._open:
            self._writer.leave()
            self._open = False

    def abort(self) -> None:
        """Leaves no file of this run, unless it has finished."""
        if self._open:
            self._writer.abort()
            if self._buckets is not None:
                self._buckets.remove_all()
            partial_path(self.prefix).unlink(missing_ok=True)
            self._open = False

    def _write(self, ids_T: NDArray[Any], lengths_B: NDArray[np.int64]) -> None:
        self._writer.add_many(ids_T, lengths_B)
        self._digest.update(ids_T.data)

    def _hash_again(self, size: int) -> None:
        """Takes in what the run before has written."""
        if size == 0:
            return
        with open(self.prefix + ".bin.partial", "rb") as file:
            while size > 0 and (block := file.read(min(size, 8 << 20))):
                self._digest.update(block)
                size -= len(block)

    def _remove_files(self) -> None:
        for suffix in (".idx", ".bin"):
            Path(self.prefix + suffix).unlink(missing_ok=True)

    def _manifest(self, inputs: Sequence[FileRecord], rejects: Mapping[str, int], blank_lines: int) -> Manifest:
        bin_path, idx_path = self.prefix + ".bin", self.prefix + ".idx"
        return Manifest(
            key=self.key,
            append_eod=self.job.eod_id is not None,
            tokenizer=TokenizerRecord.of(self.job.tokenizer),
            dtype=self.job.dtype,
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
            encoder=self.job.encoder,
            suspects=self.job.suspects,
            shuffle_seed=self.job.shuffle_seed,
        )


def finished_before(
    prefixes: Mapping[str, str], files: Sequence[str], job: TokenizeJob, overwrite: bool
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
    if manifest.shuffle_seed != job.shuffle_seed:
        return f"its documents are {_order_name(manifest.shuffle_seed)}, now {_order_name(job.shuffle_seed)}"
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


def _order_name(shuffle_seed: int | None) -> str:
    return "in the order of the input" if shuffle_seed is None else f"shuffled with seed {shuffle_seed}"


def _other_inputs(manifest: Manifest, files: Sequence[str]) -> str:
    """How the inputs differ in content or order from those of the manifest; empty for nothing."""
    if len(files) != len(manifest.inputs):
        return f"it was made of {len(manifest.inputs)} input files, now {len(files)}"
    sizes = [state_of(file).bytes for file in files]
    for file, size, record in zip(files, sizes, manifest.inputs, strict=True):
        if size != record.bytes:
            return f"{file} has {size:,} bytes, then {record.path} had {record.bytes:,}"
    with tqdm(total=sum(sizes), desc="compare inputs", unit="B", unit_scale=True, disable=None) as bar:
        for file, record in zip(files, manifest.inputs, strict=True):
            if hash_file(file, bar.update).sha256 != record.sha256:
                return f"{file} has another content than {record.path} had"
    return ""
