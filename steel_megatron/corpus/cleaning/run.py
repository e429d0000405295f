"""``steel clean``: files of records through the operations of a recipe, with a report and a reason for every drop."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steel_megatron.config import DataError
from steel_megatron.corpus.cleaning.part import (
    DOCUMENTS,
    DROPPED,
    FORMAT,
    READ,
    SHA256,
    CleanJob,
    CountTokens,
    clean_part,
)
from steel_megatron.corpus.cleaning.recipe import Recipe
from steel_megatron.corpus.cleaning.report import report_of, write_html
from steel_megatron.corpus.cleaning.tally import Tally
from steel_megatron.jobs.durable import Outputs, beside, refuse_other
from steel_megatron.jobs.engine import Engine
from steel_megatron.jobs.inputs import JSON_LINES, find_inputs
from steel_megatron.jobs.manifest import SKIP_DAMAGED, JobManifest, finished_before
from steel_megatron.jobs.never_data import DROPS, DROPS_FOLDER, MANIFEST, REPORT_HTML, REPORT_JSON
from steel_megatron.jobs.parts import (
    DAMAGE,
    PART_BYTES,
    InputFile,
    InputHashes,
    damaged_files,
    line_parts,
    numbered,
    whole_file,
)
from steel_megatron.jobs.rejects import no_document
from steel_megatron.jobs.shards import Piece, Target, record_of, write_shards
from steel_megatron.jobs.tasks import work_folder

log = logging.getLogger(__name__)
SUFFIXES = {".jsonl": "", ".jsonl.zst": "zst"}


@dataclass(frozen=True)
class Cleaned:
    """What a run left; ``done_before`` when there was nothing to do."""

    output: Path
    report: dict[str, Any]
    done_before: bool = False


def clean(
    recipe: Recipe,
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    workers: int = 1,
    engine: str = "local",
    overwrite: bool = False,
    skip_damaged: bool = False,
    tokenizer: str = "",
    count_tokens: CountTokens | None = None,
    part_bytes: int = PART_BYTES,
) -> Cleaned:
    """Writes ``output`` (a folder of shards, ``.jsonl`` or ``.jsonl.zst``) and beside it drops, report and manifest.

    The files are the same bytes for any number of workers. A run that was stopped goes on with the parts not yet done.

    Args:
        engine: "local" or "ray".
        skip_damaged: what can be read of a damaged file is cleaned, and the manifest names it.
        tokenizer: a name of what ``count_tokens`` counts with; part of what the output depends on.
        count_tokens: tokens of a text, for the report; can be sent to worker processes.

    Raises:
        ConfigError: an operation, parameter, package or model file is not there; settings that cannot work.
        DataError: no input, damaged input, other output there.
    """
    place = Target.of(output, SUFFIXES)
    target = place.path
    machine = Engine(engine, workers)
    recipe.build()  # what is missing is told before any work
    found = find_inputs(inputs, JSON_LINES, output=target)
    files = tuple(InputFile.of(file) for file in found.files)
    settings: dict[str, Any] = {"steps": recipe.steps, "text_key": recipe.text_key, "tokenizer": tokenizer}
    settings |= {SKIP_DAMAGED: True} if skip_damaged else {}
    wanted = JobManifest("clean", settings, files, format=FORMAT)
    if not overwrite and finished_before(target, wanted) is not None:
        try:
            return Cleaned(target, json.loads(beside(target, REPORT_JSON).read_bytes()), done_before=True)
        except (OSError, ValueError):
            refuse_other(target, "its report is not there, or cannot be read")
    wanted = replace(wanted, suspects=found.tell())
    if recipe.passed_over:
        log.info("clean: %s passed over: steel dedup compares all corpora at once", ", ".join(recipe.passed_over))
    with work_folder(place.work, target) as folder, InputHashes() as hashes:
        parts = [
            part
            for file in files
            for part in line_parts(whole_file(file, skip_damaged=skip_damaged), part_bytes)
            if part.size or part.packed
        ]
        packed = place.packing == "zst"
        job = CleanJob(recipe.steps, recipe.text_key, packed, str(folder), tokenizer, count_tokens)
        job = replace(job, in_shards=place.in_shards)
        counts = machine.run(
            "clean",
            clean_part,
            job,
            numbered(parts),
            done=lambda part: part.done_as_wanted(job.task(part).done()),
            on_done=hashes.take,
        )
        kept, dropped = (
            [
                Piece(job.task(part).file(ending), each.get(SHA256, {}).get(ending, ""))
                for part, each in zip(parts, counts, strict=True)
            ]
            for ending in (DOCUMENTS, DROPPED)
        )
        damaged = damaged_files(parts, [each.get(DAMAGE, ()) for each in counts])
        wanted = replace(wanted, inputs=hashes.of(files), damaged=damaged)
        report = _publish(place, wanted, machine, kept, dropped, recipe, _sum(job, counts, wanted.suspects), tokenizer)
        shutil.rmtree(folder)
    return Cleaned(target, report)


def _sum(job: CleanJob, counts: Iterable[dict[str, Any]], suspects: Mapping[str, str]) -> Tally:
    """The tally of all parts."""
    whole = Tally.of(len(job.steps))
    for each in counts:
        whole.add(Tally(**{name: count for name, count in each.items() if name not in (SHA256, DAMAGE)}))
    if whole.records != whole.documents + whole.dropped:
        raise DataError(
            f"{whole.records:,} records in, {whole.documents:,} kept and {whole.dropped:,} dropped",
            rule="every record is kept or dropped for a reason",
        )
    unread = whole.reasons.get(READ, {})
    if whole.records and sum(unread.values()) == whole.records:
        example = next((str(drop["detail"]) for _, drop in whole.samples.get(READ, ())), "")
        raise no_document(unread, suspects, example=example)
    return whole


def _publish(
    place: Target,
    manifest: JobManifest,
    engine: Engine,
    kept: Sequence[Piece],
    dropped: Sequence[Piece],
    recipe: Recipe,
    tally: Tally,
    tokenizer: str,
) -> dict[str, Any]:
    """Gives what is kept and dropped of all parts and the report their names, the manifest last; returns the report."""
    outputs = Outputs(place.path, ("", DROPS, DROPS_FOLDER, REPORT_JSON, REPORT_HTML, MANIFEST))
    if place.in_shards:
        manifest = replace(manifest, shards=write_shards(engine, kept, place.path))
        drops = write_shards(engine, dropped, beside(place.path, DROPS_FOLDER))
        made = {
            "documents": record_of(place.path.name, manifest.shards),
            "drops": record_of(place.path.name + DROPS_FOLDER, drops),
        }
    else:
        made = {
            "documents": outputs.join("", (piece.path for piece in kept)),
            "drops": outputs.join(DROPS, (piece.path for piece in dropped)),
        }
    manifest = replace(
        manifest,
        outputs=made,
        records=tally.records,
        documents=tally.documents,
        text_bytes=tally.text_bytes,
        rejects={f"{name}: {reason}": n for name, reasons in tally.reasons.items() for reason, n in reasons.items()},
    )
    report = manifest.content() | report_of(recipe, tally, tokenizer)
    outputs.write_json(REPORT_JSON, report)
    outputs.write_text(REPORT_HTML, write_html(report))
    outputs.write_json(MANIFEST, manifest.content())
    outputs.publish()
    return report
