"""``steel clean``: files of records through the operations of a recipe, with a report and a reason for every drop."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steel_megatron import __version__
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.cleaning.drops import DROPS
from steel_megatron.corpus.cleaning.part import (
    DOCUMENTS,
    DROPPED,
    FORMAT,
    CleanJob,
    CleanPart,
    CountTokens,
    clean_part,
    finished_part,
)
from steel_megatron.corpus.cleaning.recipe import Recipe
from steel_megatron.corpus.cleaning.report import REPORT_HTML, REPORT_JSON, report_of, write_html
from steel_megatron.corpus.cleaning.tally import Tally
from steel_megatron.jobs.durable import Outputs, beside, concatenate, refuse_other
from steel_megatron.jobs.engine import Engine
from steel_megatron.jobs.files import state_of
from steel_megatron.jobs.inputs import JSON_LINES, find_inputs
from steel_megatron.jobs.never_data import MANIFEST
from steel_megatron.jobs.tasks import work_folder
from steel_megatron.jobs.unpack import can_be_cut, line_stretches

log = logging.getLogger(__name__)
PART_BYTES = 64 << 20  # larger plain files are cut; packed ones are one part
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
    overwrite: bool = False,
    tokenizer: str = "",
    count_tokens: CountTokens | None = None,
    part_bytes: int = PART_BYTES,
) -> Cleaned:
    """Writes ``output`` (``.jsonl`` or ``.jsonl.zst``) and beside it its drops, report and manifest.

    The files are the same bytes for any number of workers. A run that was stopped goes on with the parts not yet done.

    Args:
        tokenizer: a name of what ``count_tokens`` counts with; part of what the output depends on.
        count_tokens: tokens of a text, for the report; can be sent to worker processes.

    Raises:
        ConfigError: an operation, parameter, package or model file is not there; settings that cannot work.
        DataError: no input, damaged input, other output there.
    """
    target = Path(output)
    if not target.name.endswith(SUFFIXES):
        raise ConfigError(f"--output {target}", rule=f"it ends in {' or '.join(SUFFIXES)}")
    engine = Engine(workers=workers)
    recipe.build()  # what is missing is told before any work
    found = find_inputs(inputs, JSON_LINES, output=target)
    files = [file.location for file in found.files]
    wanted = _wanted(recipe, files, tokenizer)
    if not overwrite and (before := _finished(target, wanted)) is not None:
        return Cleaned(target, before, done_before=True)
    odd = found.tell()
    if recipe.passed_over:
        log.info("clean: %s passed over: steel dedup compares all corpora at once", ", ".join(recipe.passed_over))
    with work_folder(beside(target, ".parts"), target) as folder:
        parts = [part for path in files for part in _parts(path, part_bytes)]
        packed = target.name.endswith(".zst")
        job = CleanJob(recipe.steps, recipe.text_key, packed, str(folder), tokenizer, count_tokens)
        tally = _run(job, parts, engine)
        report = report_of(recipe, files, tally, tokenizer) | {"suspects": odd}
        _publish(target, job, parts, report, wanted)
        shutil.rmtree(folder)
    return Cleaned(target, report)


def _wanted(recipe: Recipe, files: Sequence[str], tokenizer: str) -> dict[str, Any]:
    """What an output depends on, as its manifest holds it."""
    states = {path: state_of(path) for path in files}
    inputs = [{"path": path, "bytes": state.bytes, "version": state.version} for path, state in states.items()]
    made_of = {"format": FORMAT, "steps": recipe.steps, "text_key": recipe.text_key, "tokenizer": tokenizer}
    return dict(json.loads(json.dumps({**made_of, "code_version": __version__, "inputs": inputs}, default=str)))


def _finished(target: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The report of a whole output made from the same files in the same way; None when nothing is there."""
    manifest_path = beside(target, MANIFEST)
    if not target.exists() and not manifest_path.exists():
        return None
    difference = "it has no manifest: another tool made it, or a run was killed while finishing it"
    try:
        manifest = json.loads(manifest_path.read_bytes())
        bytes_there = target.stat().st_size
        report: dict[str, Any] = json.loads(beside(target, REPORT_JSON).read_bytes())
        if manifest["made_of"] != wanted:
            difference = "it was made from other files, or with another recipe or version"
        elif manifest["output_bytes"] != bytes_there:
            difference = f"it has {bytes_there:,} bytes, its manifest says {manifest['output_bytes']:,}"
        else:
            return report
    except (OSError, ValueError, KeyError, TypeError):
        pass
    refuse_other(target, difference)


def _parts(path: str, part_bytes: int) -> Iterator[CleanPart]:
    """The stretches of a file, cut at line ends, whatever the number of workers."""
    state = state_of(path)
    if not can_be_cut(path):
        yield CleanPart(path, state.version, 0, None, state.bytes)
        return
    for start, stop in line_stretches(path, state.bytes, part_bytes):
        yield CleanPart(path, state.version, start, stop, stop - start)


def _run(job: CleanJob, parts: list[CleanPart], engine: Engine) -> Tally:
    """The tally of all parts."""
    tallies = engine.run("clean", clean_part, job, parts, done=lambda part: finished_part(job, part))
    whole = Tally.of(len(job.steps))
    for tally in tallies:
        whole.add(tally)
    if whole.records != whole.documents + whole.dropped:
        raise DataError(
            f"{whole.records:,} records in, {whole.documents:,} kept and {whole.dropped:,} dropped",
            rule="every record is kept or dropped for a reason",
        )
    return whole


def _publish(
    target: Path, job: CleanJob, parts: list[CleanPart], report: dict[str, Any], wanted: dict[str, Any]
) -> None:
    """Joins the parts and gives the files their names, the manifest last."""
    outputs = Outputs(target, ("", DROPS, REPORT_JSON, REPORT_HTML, MANIFEST))
    sizes = {}
    for ending, suffix in (("", DOCUMENTS), (DROPS, DROPPED)):
        with outputs.writing(ending) as file:
            sizes[ending], _ = concatenate((job.task(part).file(suffix) for part in parts), file)
    outputs.write_text(REPORT_JSON, json.dumps(report, ensure_ascii=False, indent=1))
    outputs.write_text(REPORT_HTML, write_html(report))
    manifest = {
        "made_of": wanted,
        "records": report["records"],
        "documents": report["documents"],
        "text_bytes": report["text_bytes"],
        "output_bytes": sizes[""],
    }
    outputs.write_text(MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2))
    outputs.publish()
