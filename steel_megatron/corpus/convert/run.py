"""From files of a corpus to ``{"text", "source", "id"}`` JSON lines, rejects and a manifest.

Files are cut into parts, which any number of workers convert. Finished parts stay beside the output until all are
there; then they become its shards, or are joined in order to one file, and the output takes its name.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from steel_megatron.config import ConfigError, DataError
from steel_megatron.config.texts import some
from steel_megatron.corpus.convert.part import (
    DOCUMENTS,
    FORMAT,
    REJECTED,
    ConvertJob,
    PartResult,
    convert_part,
)
from steel_megatron.corpus.convert.plan import plan_parts
from steel_megatron.corpus.corpus import Corpus
from steel_megatron.corpus.registry import CORPORA, find_corpus
from steel_megatron.jobs.durable import Outputs, beside
from steel_megatron.jobs.engine import Engine
from steel_megatron.jobs.inputs import find_inputs
from steel_megatron.jobs.manifest import SKIP_DAMAGED, JobManifest, finished_before
from steel_megatron.jobs.never_data import MANIFEST, REJECTS
from steel_megatron.jobs.parts import PART_BYTES, InputFile, InputHashes, Part, damaged_files
from steel_megatron.jobs.rejects import first_detail, no_document
from steel_megatron.jobs.shards import Piece, Target, record_of, write_shards
from steel_megatron.jobs.tasks import work_folder

SUFFIXES = {".jsonl": "", ".jsonl.gz": "gz", ".jsonl.zst": "zst"}


@dataclass(frozen=True)
class Converted:
    """What a call of :func:`convert_corpus` left; ``done_before`` when there was nothing to do."""

    output: Path
    manifest: JobManifest
    rejects_path: Path | None
    done_before: bool = False

    @property
    def rejected(self) -> int:
        return sum(self.manifest.rejects.values())


def convert_corpus(
    corpus_name: str,
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    options: Mapping[str, str] | None = None,
    source: str | None = None,
    workers: int = 1,
    engine: str = "local",
    overwrite: bool = False,
    skip_damaged: bool = False,
    part_bytes: int = PART_BYTES,
) -> Converted:
    """Writes ``output`` (a folder of shards, or ``.jsonl``, also with ``.gz`` or ``.zst``), its manifest and rejects.

    The output is the same bytes for any number of workers. A run that was stopped goes on with the parts not yet done.

    Args:
        inputs: files, folders, glob patterns and URLs of these; what a file holds is told from its content.
        options: settings of the corpus by name; its defaults where not given.
        engine: "local" or "ray".
        source: what ``source`` says in each line; the corpus's name when None.
        overwrite: replaces what is there. Without it, a whole output from the same files and settings is left as it
            is, and anything else there is an error.
        skip_damaged: what can be read of a damaged file is converted, and the manifest names it.
        part_bytes: about how much of a file is converted at once.

    Raises:
        ConfigError: settings that cannot work.
        DataError: no input, damaged input (all else is converted first, and kept), other output there, no document.
    """
    corpus = find_corpus(corpus_name)
    place = Target.of(output, SUFFIXES)
    target = place.path
    machine = Engine(engine, workers)
    settings = _settings(corpus, options or {})
    if CORPORA.outside(corpus_name):
        settings["code_of_corpus"] = CORPORA.code(corpus_name)
    found = find_inputs(inputs, corpus.suffixes, archives=True, output=target)
    odd, files = found.tell(lines_only=False), tuple(InputFile.of(file) for file in found.files)
    source = source or corpus.name
    made_of = {
        "corpus": corpus_name,
        "options": settings,
        "source": source,
        **({SKIP_DAMAGED: True} if skip_damaged else {}),
    }
    wanted = JobManifest("convert", made_of, files, suspects=odd, format=FORMAT)
    before = None if overwrite else finished_before(target, wanted)
    if before is None:
        with work_folder(place.work, target) as folder, InputHashes() as hashes:
            damaged: dict[str, str] | None = {} if skip_damaged else None
            split = settings.get("split", "")
            parts, passed_over = plan_parts(found.files, files, corpus, workers, part_bytes, split, damaged)
            job = ConvertJob(corpus_name, settings, source, place.packing, str(folder), in_shards=place.in_shards)
            counts = machine.run(
                f"convert {corpus.name}",
                convert_part,
                job,
                parts,
                done=lambda part: part.done_as_wanted(job.task(part).done()),
                on_done=hashes.take,
            )
            results = [PartResult(**each) for each in counts]
            reasons = _check(corpus, parts, results, passed_over, odd, job)
            members = [member for result in results for member in result.passed_over]
            wanted = replace(
                wanted,
                inputs=hashes.of(files),
                records=sum(result.records for result in results),
                documents=sum(result.documents for result in results),
                text_bytes=sum(result.text_bytes for result in results),
                rejects=dict(sorted(reasons.items())),
                passed_over=(*passed_over, *members),
                damaged=(damaged or {}) | damaged_files(parts, [result.damage for result in results]),
            )
            pieces = [
                Piece(job.task(part).file(DOCUMENTS), result.sha256)
                for part, result in zip(parts, results, strict=True)
            ]
            manifest = _publish(place, wanted, job, parts, pieces, machine)
            shutil.rmtree(folder)
    else:
        manifest = before
    rejects = beside(target, REJECTS)
    return Converted(target, manifest, rejects if rejects.is_file() else None, done_before=before is not None)


def _publish(
    place: Target, manifest: JobManifest, job: ConvertJob, parts: Sequence[Part], pieces: list[Piece], engine: Engine
) -> JobManifest:
    """Gives the documents of all parts and the rejects their names, the manifest last. What was there goes first."""
    outputs = Outputs(place.path, ("", REJECTS, MANIFEST))
    made = {}
    if place.in_shards:
        manifest = replace(manifest, shards=write_shards(engine, pieces, place.path))
        made["documents"] = record_of(place.path.name, manifest.shards)
    else:
        made["documents"] = outputs.join("", (piece.path for piece in pieces))
    if manifest.rejects:
        made["rejects"] = outputs.join(REJECTS, (job.task(part).file(REJECTED) for part in parts))
    manifest = replace(manifest, outputs=made)
    outputs.write_json(MANIFEST, manifest.content())
    outputs.publish()
    return manifest


def _settings(corpus: Corpus, given: Mapping[str, str]) -> dict[str, str]:
    """The options of the corpus with those given."""
    settings = {option.name: option.default for option in corpus.options}
    for name, value in given.items():
        if name not in settings:
            own = ", ".join(option.flag for option in corpus.options) or "none"
            raise ConfigError(f"--{name.replace('_', '-')} with --corpus {corpus.name}", rule=f"its options are {own}")
        settings[name] = value
    return dict(corpus.prepare(settings))


def _check(
    corpus: Corpus,
    parts: list[Part],
    results: list[PartResult],
    passed_over: Sequence[str],
    odd: Mapping[str, str],
    job: ConvertJob,
) -> Counter[str]:
    """The rejects by reason; damaged files, records lost on the way, and runs without a document are errors.

    Args:
        odd: files that are not what their names say, and what they are.
    """
    damaged = {part.path: result.failed for part, result in zip(parts, results, strict=True) if result.failed}
    if damaged:
        first = next(iter(damaged.values()))
        raise DataError(
            f"{len(damaged)} of {len({part.path for part in parts})} files cannot be read to the end:\n{first}",
            rule="every other file is converted and kept, but no output is written without these",
            fix=f"mend or remove {', '.join(damaged)} and run again; --skip-damaged takes what can be read",
        )
    reasons: Counter[str] = Counter()
    for part, result in zip(parts, results, strict=True):
        reasons.update(result.rejects or {})
        rejected = sum((result.rejects or {}).values())
        if result.records != result.documents + rejected:
            raise DataError(
                f"{part}: {result.records:,} records in, {result.documents:,} documents and {rejected:,} rejects out",
                rule="every record becomes a document or a reject",
            )
    if not any(result.documents for result in results):
        fields = "; ".join(f"{name} ({what})" for name, what in corpus.fields.items())
        over = f"; other things are in {some(passed_over)}" if passed_over else ""
        raise no_document(
            reasons,
            odd,
            f"at least one record gives a text; fields of {corpus.name}: {fields}",
            f"check --input and --corpus{over}",
            next((detail for part in parts if (detail := first_detail(job.task(part).file(REJECTED)))), ""),
        )
    return reasons
