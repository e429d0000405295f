"""From files of a corpus to ``{"text", "source", "id"}`` JSON lines, rejects and a manifest.

Files are cut into parts, which any number of workers convert. Finished parts stay in ``OUTPUT.parts`` until all are
there; then they are joined in order, and the output takes its name.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.convert.output import (
    ConvertManifest,
    InputRecord,
    finished_before,
    packing_of_name,
    publish,
)
from steel_megatron.corpus.convert.part import ConvertJob, PartResult, convert_part, finished_part
from steel_megatron.corpus.convert.parts import PART_BYTES, Part, plan_parts
from steel_megatron.corpus.corpus import Corpus
from steel_megatron.corpus.registry import CORPORA, find_corpus
from steel_megatron.jobs.durable import beside
from steel_megatron.jobs.engine import Engine
from steel_megatron.jobs.inputs import Input, find_inputs
from steel_megatron.jobs.tasks import work_folder


@dataclass(frozen=True)
class Converted:
    """What a call of :func:`convert_corpus` left; ``done_before`` when there was nothing to do."""

    output: Path
    manifest: ConvertManifest
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
    overwrite: bool = False,
    part_bytes: int = PART_BYTES,
) -> Converted:
    """Writes ``output`` (``.jsonl``, also with ``.gz`` or ``.zst``), its manifest and its rejects.

    The output is the same bytes for any number of workers. A run that was stopped goes on with the parts not yet done.

    Args:
        inputs: files, folders, glob patterns and URLs of these; what a file holds is told from its content.
        options: settings of the corpus by name; its defaults where not given.
        source: what ``source`` says in each line; the corpus's name when None.
        overwrite: replaces what is there. Without it, a whole output from the same files and settings is left as it
            is, and anything else there is an error.
        part_bytes: about how much of a file is converted at once.

    Raises:
        ConfigError: settings that cannot work.
        DataError: no input, damaged input (all else is converted first, and kept), other output there, no document.
    """
    corpus = find_corpus(corpus_name)
    target = Path(output)
    packing = packing_of_name(target)
    engine = Engine(workers=workers)
    settings = _settings(corpus, options or {})
    if CORPORA.outside(corpus_name):
        settings["code_of_corpus"] = CORPORA.code(corpus_name)
    found = find_inputs(inputs, corpus.suffixes, archives=True, output=target)
    files, odd = found.files, found.tell()
    records = [InputRecord.of(file) for file in files]
    wanted = ConvertManifest(corpus_name, settings, source or corpus.name, tuple(records), suspects=odd)
    before = None if overwrite else finished_before(target, wanted)
    if before is not None:
        rejects = before.rejects_path(target)
        return Converted(target, before, rejects if rejects.is_file() else None, done_before=True)

    with work_folder(beside(target, ".parts"), target) as folder:
        parts, passed_over = plan_parts(files, corpus, workers, part_bytes)
        job = ConvertJob(corpus_name, settings, wanted.source, packing, str(folder))
        results = engine.run(
            f"convert {corpus.name}", convert_part, job, parts, done=lambda part: finished_part(job, part)
        )
        _check(corpus, parts, results, passed_over)
        manifest = publish(target, wanted, job, parts, results, passed_over)
        shutil.rmtree(folder)
    rejects = manifest.rejects_path(target)
    return Converted(target, manifest, rejects if manifest.rejects else None)


def _settings(corpus: Corpus, given: Mapping[str, str]) -> dict[str, str]:
    """The options of the corpus with those given."""
    settings = {option.name: option.default for option in corpus.options}
    for name, value in given.items():
        if name not in settings:
            own = ", ".join(option.flag for option in corpus.options) or "none"
            raise ConfigError(f"--{name.replace('_', '-')} with --corpus {corpus.name}", rule=f"its options are {own}")
        settings[name] = value
    return dict(corpus.prepare(settings))


def _check(corpus: Corpus, parts: list[Part], results: list[PartResult], passed_over: list[Input]) -> None:
    """Damaged files, records lost on the way, and runs without a document are errors."""
    damaged = {part.path: result.damage for part, result in zip(parts, results, strict=True) if result.damage}
    if damaged:
        first = next(iter(damaged.values()))
        raise DataError(
            f"{len(damaged)} of {len({part.path for part in parts})} files cannot be read to the end:\n{first}",
            rule="every other file is converted and kept, but no output is written without these",
            fix=f"mend or remove {', '.join(damaged)}, then give the command again",
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
        counted = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
        over = f"; {len(passed_over):,} files hold other things" if passed_over else ""
        raise DataError(
            f"no document: {sum(reasons.values()):,} records rejected ({counted or 'none'}){over}",
            rule=f"at least one record gives a text; fields of {corpus.name}: "
            + "; ".join(f"{name} ({what})" for name, what in corpus.fields.items()),
            fix="check --input and --corpus",
        )
