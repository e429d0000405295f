"""The datasets of a tokenising run, and what an earlier run left in their place."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from steel_megatron.config import DataError
from steel_megatron.jobs.durable import PARTIAL, Outputs, partial_of, refuse_other
from steel_megatron.jobs.hashes import FileRecord, hash_file
from steel_megatron.jobs.never_data import MANIFEST, REJECTS
from steel_megatron.jobs.parts import InputFile, Part
from steel_megatron.jobs.progress import Progress
from steel_megatron.jobs.rejects import moved, rejects_path
from steel_megatron.tokenizer import Tokenizer
from steel_megatron.tokens.manifest import Manifest, TokenizerRecord, manifest_path, output_records
from steel_megatron.tokens.tokenise.join import PlacedDataset
from steel_megatron.tokens.tokenise.part import REJECTED, PartCounts, PartFiles

PartOutcome = tuple[Part, PartCounts]


def dataset_prefix(output_prefix: str | os.PathLike[str], key: str) -> str:
    """Megatron's name of the dataset of one key, without ``.bin`` or ``.idx``."""
    return f"{os.fspath(output_prefix)}_{key}_document"


@dataclass(frozen=True)
class TokenizeJob:
    """What the datasets of a run are made with."""

    tokenizer: Tokenizer
    keys: tuple[str, ...]
    eod_id: int | None  # appended to each document; None: nothing is
    dtype: str  # "uint16", "uint24" or "int32"
    shuffle_seed: int | None = None  # None: documents in the order of the input
    encoder: Mapping[str, Any] = field(default_factory=dict)
    suspects: Mapping[str, str] = field(default_factory=dict)  # as the manifest has them
    skip_damaged: bool = False


def publish(prefix: str, manifest: Manifest) -> None:
    """Gives the files of a dataset their names, the manifest last. What an earlier run left there goes first."""
    outputs = Outputs(prefix, (".bin", ".idx", MANIFEST))
    # Says until the manifest takes its name that what is here is the work of an unfinished run.
    outputs.write_json(MANIFEST, asdict(manifest))
    for ending in (MANIFEST, ".idx"):  # never a new file beside an old one
        outputs.paths[ending].unlink(missing_ok=True)
    outputs.publish()


def join_rejects(output_prefix: str | os.PathLike[str], files: PartFiles, parts: Sequence[PartOutcome]) -> Path | None:
    """Writes the rejects of all parts with their lines' numbers in the files; None where there are none."""
    outputs = Outputs(output_prefix, (REJECTS,))
    if any(counts.rejects for _, counts in parts):
        with outputs.writing(REJECTS) as joined:
            path, lines_before = "", 0
            for part, counts in parts:
                if part.path != path:
                    path, lines_before = part.path, 0
                if counts.rejects:
                    with open(files.task(part.number).file(REJECTED), "rb") as rejects:
                        joined.writelines(moved(line, lines_before) for line in rejects)
                lines_before += counts.lines
    outputs.publish()
    return rejects_path(output_prefix) if outputs.paths[REJECTS].exists() else None


def manifest_of(
    key: int,
    job: TokenizeJob,
    dataset: PlacedDataset,
    parts: Sequence[PartOutcome],
    inputs: Sequence[FileRecord],
    bin_sha256: str,
    damaged: Mapping[str, str],
) -> Manifest:
    """The manifest of one key's dataset, which has not got its names yet."""
    counts = [counts for _, counts in parts]
    rejects: Counter[str] = Counter()
    for part in counts:
        rejects.update(part.rejects)
    return Manifest(
        key=job.keys[key],
        append_eod=job.eod_id is not None,
        tokenizer=TokenizerRecord.of(job.tokenizer),
        dtype=job.dtype,
        inputs=tuple(inputs),
        documents=dataset.end.documents,
        tokens=dataset.end.tokens,
        largest_id=max(part.keys[key].largest_id for part in counts),
        text_bytes=sum(part.keys[key].text_bytes for part in counts),
        blank_lines=sum(part.blank_lines for part in counts),
        rejects=dict(sorted(rejects.items())),
        outputs=output_records(dataset.prefix, bin_sha256, PARTIAL),
        encoder=job.encoder,
        suspects=job.suspects,
        damaged=damaged,
        shuffle_seed=job.shuffle_seed,
    )


def refuse_old_work(output_prefix: str | os.PathLike[str], overwrite: bool) -> None:
    """
    Raises:
        DataError: a stopped run of version 0.1.0 has noted a place to go on from, and ``overwrite`` is not set.
    """
    journal = _journal(output_prefix)
    if journal.exists() and not overwrite:
        raise DataError(
            f"{journal} is there: a run of an earlier version was stopped, and its work is in files beside it",
            rule="a run goes on with the work of its own version",
            fix="give the command to that version, or --overwrite to begin again",
        )


def clear_old_work(output_prefix: str | os.PathLike[str], prefixes: Sequence[str]) -> None:
    """Takes away what a stopped run has left beside the datasets, also one of version 0.1.0."""
    for prefix in prefixes:
        for ending in ("bin", "idx", "lengths", "documents", "manifest.json"):
            Path(f"{prefix}.{ending}.partial").unlink(missing_ok=True)
        shutil.rmtree(f"{prefix}.buckets.partial", ignore_errors=True)
    Path(f"{rejects_path(output_prefix)}.partial").unlink(missing_ok=True)
    _journal(output_prefix).unlink(missing_ok=True)


def _journal(output_prefix: str | os.PathLike[str]) -> Path:
    return Path(f"{os.fspath(output_prefix)}.tokenize.partial")


def finished_before(
    prefixes: Mapping[str, str], files: Sequence[InputFile], job: TokenizeJob, overwrite: bool
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
        if manifest is None and (not there or partial_of(manifest_path(prefix)).exists()):
            continue  # nothing, or what a killed run left
        if manifest is None:
            difference = "it has no manifest, so another tool made it"
        else:
            difference = _difference(manifest, prefix, key, job) or _other_inputs(manifest, files)
        if difference:
            refuse_other(f"{prefix}{there[0] if there else MANIFEST}", difference, "--output-prefix")
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
    if manifest.damaged and not job.skip_damaged:
        return f"{next(iter(manifest.damaged))} is damaged and was read in part (--skip-damaged)"
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


def _other_inputs(manifest: Manifest, files: Sequence[InputFile]) -> str:
    """How the inputs differ in content or order from those of the manifest; empty for nothing."""
    if len(files) != len(manifest.inputs):
        return f"it was made of {len(manifest.inputs)} input files, now {len(files)}"
    for file, record in zip(files, manifest.inputs, strict=True):
        if file.bytes != record.bytes:
            return f"{file.path} has {file.bytes:,} bytes, then {record.path} had {record.bytes:,}"
    with Progress("compare inputs", sum(file.bytes for file in files)) as progress:
        for file, record in zip(files, manifest.inputs, strict=True):
            if hash_file(file.path, progress.add).sha256 != record.sha256:
                return f"{file.path} has another content than {record.path} had"
    return ""
