"""``steel classify score``: records with the scores of classifiers, all of them or the best ones."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from steel_megatron.config import ConfigError
from steel_megatron.corpus.classify.model import Classifier, read_classifier
from steel_megatron.corpus.classify.ranks import BINS, Ranks, threshold
from steel_megatron.corpus.classify.score_part import (
    COUNTS,
    DOCUMENTS,
    FORMAT,
    REJECTED,
    SCORES,
    Choice,
    ScoreJob,
    ranked_columns,
    score_part,
    write_part,
)
from steel_megatron.jobs.durable import Outputs, write_json
from steel_megatron.jobs.engine import Engine
from steel_megatron.jobs.hashes import xxh3_of
from steel_megatron.jobs.inputs import JSON_LINES, find_inputs
from steel_megatron.jobs.manifest import SKIP_DAMAGED, JobManifest, finished_before
from steel_megatron.jobs.never_data import MANIFEST, RANKS, REJECTS
from steel_megatron.jobs.parts import (
    DAMAGE,
    PART_BYTES,
    InputFile,
    InputHashes,
    Part,
    damaged_files,
    line_parts,
    numbered,
    whole_file,
)
from steel_megatron.jobs.rejects import no_document
from steel_megatron.jobs.shards import Piece, Target, record_of, write_shards
from steel_megatron.jobs.tasks import work_folder

SUFFIXES = {".jsonl": "", ".jsonl.zst": "zst"}


@dataclass(frozen=True)
class ScoreSettings:
    """
    Args:
        key: of the text in a record.
        field: begins the names of what is added to a record.
        least_score: records with a lower score are left out; of one classifier.
        best_share: of the records, those of the largest rank, are kept; 1: all.
        labels: records of other labels are left out; of a classifier of more than two.
    """

    key: str = "text"
    field: str = "quality"
    least_score: float = 0.0
    best_share: float = 1.0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scored:
    """What a run left; ``done_before`` when there was nothing to do."""

    output: Path
    manifest: JobManifest
    done_before: bool = False


def score(
    models: Sequence[str],
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    settings: ScoreSettings | None = None,
    *,
    workers: int = 1,
    engine: str = "local",
    overwrite: bool = False,
    skip_damaged: bool = False,
    part_bytes: int = PART_BYTES,
) -> Scored:
    """Writes the records of the inputs with their scores: a folder of shards, ``.jsonl`` or ``.jsonl.zst``.

    Beside it: ``.ranks.json``, by which ``quality_score`` of a recipe ranks; ``.rejects.jsonl``; the manifest. All are
    the same bytes for any number of workers. A run that was stopped goes on with the parts not yet done.

    Args:
        skip_damaged: what can be read of a damaged file is scored, and the manifest names it.

    Raises:
        ConfigError: a classifier is not there or damaged, or settings that cannot work.
        DataError: no input, damaged input, other output there.
    """
    settings = settings or ScoreSettings()
    place = Target.of(output, SUFFIXES)
    target = place.path
    classifiers = [read_classifier(path) for path in models]
    _check(classifiers, settings)
    machine = Engine(engine, workers)
    found = find_inputs(inputs, JSON_LINES, output=target)
    files = tuple(InputFile.of(file) for file in found.files)
    used = {
        **vars(settings),
        **({SKIP_DAMAGED: True} if skip_damaged else {}),
        "models": [[each.name, each.digest] for each in classifiers],
    }
    wanted = JobManifest("classify score", json.loads(json.dumps(used)), files, format=FORMAT)
    if not overwrite and (before := finished_before(target, wanted)) is not None:
        return Scored(target, before, done_before=True)
    wanted = replace(wanted, suspects=found.tell())
    with work_folder(place.work, target) as folder, InputHashes() as hashes:
        cut = (line_parts(whole_file(file, skip_damaged=skip_damaged), part_bytes) for file in files)
        parts = numbered(part for several in cut for part in several if part.size or part.packed)
        job = ScoreJob(
            tuple((os.path.abspath(path), each.digest) for path, each in zip(models, classifiers, strict=True)),
            settings.key,
            str(folder.absolute()),
            place.packing,
        )
        scored = machine.run(
            "score",
            score_part,
            job,
            parts,
            done=lambda part: part.done_as_wanted(job.scores_task(part).done()),
            on_done=hashes.take,
        )
        job = _with_choice(job, classifiers, settings, parts)
        written = machine.run("write", write_part, job, parts, done=lambda part: job.records_task(part).done())
        damaged = damaged_files(parts, [counts.get(DAMAGE, ()) for counts in scored])
        wanted = replace(wanted, inputs=hashes.of(files), damaged=damaged)
        manifest = _publish(place, wanted, machine, job, parts, written)
        shutil.rmtree(folder)
    return Scored(target, manifest)


def _check(classifiers: Sequence[Classifier], settings: ScoreSettings) -> None:
    """
    Raises:
        ConfigError: settings that do not go with the classifiers.
    """
    names = [each.name for each in classifiers]
    many = [each for each in classifiers if each.columns > 1]
    if len(set(names)) < len(names):
        raise ConfigError(f"--model {' '.join(names)}", rule="each has a name of its own", fix="rename the files")
    if many and len(classifiers) > 1:
        raise ConfigError(
            f"--model {many[0].name} tells {len(many[0].labels)} labels apart",
            rule="classifiers of two labels are combined; one of more is used by itself",
            fix="score with it in a run of its own",
        )
    if settings.least_score and len(classifiers) > 1:
        raise ConfigError(
            "--min-score with several models", rule="their scores are combined as ranks", fix="use --keep-best SHARE"
        )
    if settings.best_share < 1 and many:
        raise ConfigError(
            f"--keep-best with {many[0].name}", rule="classifiers of two labels give ranks", fix="use --keep-label"
        )
    unknown = [label for label in settings.labels if not many or label not in many[0].labels]
    if unknown:
        labels = ", ".join(many[0].labels) if many else "given of a classifier of more than two"
        raise ConfigError(f"--keep-label {' '.join(unknown)}", rule=f"labels are {labels}")


def _with_choice(
    job: ScoreJob, classifiers: Sequence[Classifier], settings: ScoreSettings, parts: Sequence[Part]
) -> ScoreJob:
    """The job of the second stage: ranks are of all parts together."""
    choice = Choice(settings.field, settings.least_score, 0, settings.labels)
    ranked = ranked_columns(classifiers)
    if not ranked:
        return replace(job, choice=choice)
    counts_MB = np.zeros((len(ranked), BINS), np.int64)
    for part in parts:
        counts_MB += np.load(job.scores_task(part).file(COUNTS))
    if not counts_MB.sum():
        return replace(job, choice=choice)
    ranks = Ranks.of({each.name: each.digest for each in classifiers}, counts_MB)
    path = Path(job.folder) / RANKS[1:]
    write_json(path, ranks.content(), indent=None)
    if settings.best_share < 1:
        choice = replace(choice, least_steps=threshold(list(_steps(job, ranks, parts)), settings.best_share))
    return replace(job, choice=choice, ranks=str(path), ranks_digest=xxh3_of(path))


def _steps(job: ScoreJob, ranks: Ranks, parts: Sequence[Part]) -> Iterator[Any]:
    """The ranks of the records of each part."""
    for part in parts:
        logits = np.fromfile(job.scores_task(part).file(SCORES), np.float32).reshape(-1, len(job.models))
        yield ranks.steps_of(logits[~np.isnan(logits[:, 0])])


def _publish(
    place: Target,
    manifest: JobManifest,
    engine: Engine,
    job: ScoreJob,
    parts: Sequence[Part],
    written: Sequence[dict[str, Any]],
) -> JobManifest:
    """Gives the records and the files beside them their names, the manifest last."""
    outputs = Outputs(place.path, ("", RANKS, REJECTS, MANIFEST))
    rejects: Counter[str] = Counter()
    for counts in written:
        rejects.update(counts["rejects"])
    pieces = [
        Piece(job.records_task(part).file(DOCUMENTS), counts["sha256"])
        for part, counts in zip(parts, written, strict=True)
    ]
    if place.in_shards:
        manifest = replace(manifest, shards=write_shards(engine, pieces, place.path))
        made = {"documents": record_of(place.path.name, manifest.shards)}
    else:
        made = {"documents": outputs.join("", (piece.path for piece in pieces))}
    if job.ranks:
        made["ranks"] = outputs.join(RANKS, [Path(job.ranks)])
    if rejects:
        made["rejects"] = outputs.join(REJECTS, (job.records_task(part).file(REJECTED) for part in parts))
    manifest = replace(
        manifest,
        outputs=made,
        records=sum(counts["documents"] + counts["left"] for counts in written) + rejects.total(),
        documents=sum(counts["documents"] for counts in written),
        rejects=dict(sorted(rejects.items())),
    )
    if manifest.records and rejects.total() == manifest.records:
        raise no_document(manifest.rejects, manifest.suspects)
    outputs.write_json(MANIFEST, manifest.content())
    outputs.publish()
    return manifest
