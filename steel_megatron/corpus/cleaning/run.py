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

from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.cleaning.part import (
    DOCUMENTS,
    DROPPED,
    FORMAT,
    READ,
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
from steel_megatron.jobs.manifest import JobManifest, finished_before
from steel_megatron.jobs.never_data import DROPS, MANIFEST, REPORT_HTML, REPORT_JSON
from steel_megatron.jobs.parts import PART_BYTES, InputFile, InputHashes, Part, line_parts, numbered, whole_file
from steel_megatron.jobs.rejects import no_document
from steel_megatron.jobs.tasks import work_folder

log = logging.getLogger(__name__)
SUFFIXES = (".jsonl", ".jsonl.zst")


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
    tokenizer: str = "",
    count_tokens: CountTokens | None = None,
    part_bytes: int = PART_BYTES,
) -> Cleaned:
    """Writes ``output`` (``.jsonl`` or ``.jsonl.zst``) and beside it its drops, report and manifest.

    The files are the same bytes for any number of workers. A run that was stopped goes on with the parts not yet done.

    Args:
        engine: "local" or "ray".
        tokenizer: a name of what ``count_tokens`` counts with; part of what the output depends on.
        count_tokens: tokens of a text, for the report; can be sent to worker processes.

    Raises:
        ConfigError: an operation, parameter, package or model file is not there; settings that cannot work.
        DataError: no input, damaged input, other output there.
    """
    target = Path(output)
    if not target.name.endswith(SUFFIXES):
        raise ConfigError(f"--output {target}", rule=f"it ends in {' or '.join(SUFFIXES)}")
    machine = Engine(engine, workers)
    recipe.build()  # what is missing is told before any work
    found = find_inputs(inputs, JSON_LINES, output=target)
    files = tuple(InputFile.of(file) for file in found.files)
    settings = {"steps": recipe.steps, "text_key": recipe.text_key, "tokenizer": tokenizer}
    wanted = JobManifest("clean", settings, files, format=FORMAT)
    if not overwrite and finished_before(target, wanted) is not None:
        try:
            return Cleaned(target, json.loads(beside(target, REPORT_JSON).read_bytes()), done_before=True)
        except (OSError, ValueError):
            refuse_other(target, "its report is not there, or cannot be read")
    wanted = replace(wanted, suspects=found.tell())
    if recipe.passed_over:
        log.info("clean: %s passed over: steel dedup compares all corpora at once", ", ".join(recipe.passed_over))
    with work_folder(beside(target, ".parts"), target) as folder, InputHashes() as hashes:
        parts = [
            part for file in files for part in line_parts(whole_file(file), part_bytes) if part.size or part.packed
        ]
        packed = target.name.endswith(".zst")
        job = CleanJob(recipe.steps, recipe.text_key, packed, str(folder), tokenizer, count_tokens)
        tally = _run(job, numbered(parts), machine, hashes, wanted.suspects)
        report = _publish(target, replace(wanted, inputs=hashes.of(files)), job, parts, recipe, tally)
        shutil.rmtree(folder)
    return Cleaned(target, report)


def _run(job: CleanJob, parts: list[Part], engine: Engine, hashes: InputHashes, suspects: Mapping[str, str]) -> Tally:
    """The tally of all parts."""
    whole = Tally.of(len(job.steps))
    for counts in engine.run(
        "clean", clean_part, job, parts, done=lambda part: job.task(part).done(), on_done=hashes.take
    ):
        whole.add(Tally(**counts))
    if whole.records != whole.documents + whole.dropped:
        raise DataError(
            f"{whole.records:,} records in, {whole.documents:,} kept and {whole.dropped:,} dropped",
            rule="every record is kept or dropped for a reason",
        )
    unread = whole.reasons.get(READ, {})
    if whole.records and sum(unread.values()) == whole.records:
        raise no_document(unread, suspects)
    return whole


def _publish(
    target: Path, manifest: JobManifest, job: CleanJob, parts: Sequence[Part], recipe: Recipe, tally: Tally
) -> dict[str, Any]:
    """Joins the parts and gives the files their names, the manifest last; returns the report."""
    outputs = Outputs(target, ("", DROPS, REPORT_JSON, REPORT_HTML, MANIFEST))
    tasks = [job.task(part) for part in parts]
    manifest = replace(
        manifest,
        outputs={
            "documents": outputs.join("", (task.file(DOCUMENTS) for task in tasks)),
            "drops": outputs.join(DROPS, (task.file(DROPPED) for task in tasks)),
        },
        records=tally.records,
        documents=tally.documents,
        text_bytes=tally.text_bytes,
        rejects={f"{name}: {reason}": n for name, reasons in tally.reasons.items() for reason, n in reasons.items()},
    )
    report = manifest.content() | report_of(recipe, tally, job.tokenizer)
    outputs.write_json(REPORT_JSON, report)
    outputs.write_text(REPORT_HTML, write_html(report))
    outputs.write_json(MANIFEST, manifest.content())
    outputs.publish()
    return report
