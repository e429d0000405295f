"""The parts of scoring that run in worker processes: first all scores, then, when ranks are known, the records."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from steel_megatron._classify import score_lines, score_texts
from steel_megatron.corpus.classify.model import Classifier, probabilities_of, read_classifier
from steel_megatron.corpus.classify.ranks import BINS, STEPS, Ranks, bins_of
from steel_megatron.corpus.classify.texts import line_blocks, text_of
from steel_megatron.corpus.corpus import RejectedRecordError
from steel_megatron.corpus.readers.json_lines import split_lines
from steel_megatron.corpus.readers.json_value import parse_object
from steel_megatron.corpus.readers.row import MAX_RECORD_BYTES
from steel_megatron.jobs.files import BYTE_ORDER_MARK
from steel_megatron.jobs.hashes import hash_file
from steel_megatron.jobs.packed import open_packed
from steel_megatron.jobs.parts import DAMAGE, Part, key_of
from steel_megatron.jobs.progress import add_to
from steel_megatron.jobs.rejects import reject_line, shown
from steel_megatron.jobs.tasks import Task

FORMAT = 1  # of what is written
SCORES, COUNTS, DOCUMENTS, REJECTED = ".scores", ".counts.npy", ".documents", ".rejects"
DIGITS = 6  # of a probability


@dataclass(frozen=True)
class Choice:
    """Which records are written.

    Args:
        field: begins the names of the fields that are added.
        least_score: of the score, where there is one classifier.
        least_steps: of the rank, in steps.
        labels: of a classifier of more than two; empty: all.
    """

    field: str = "quality"
    least_score: float = 0.0
    least_steps: int = 0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoreJob:
    """What every worker needs to know.

    Args:
        models: path and digest of each classifier.
        packing: of the records.
        ranks: the file of the ranks, for the second stage; empty where there are none.
    """

    models: tuple[tuple[str, str], ...]
    key: str
    folder: str
    packing: str = "zst"
    choice: Choice = Choice()
    ranks: str = ""
    ranks_digest: str = ""
    counter: Any = None

    def scores_task(self, part: Part) -> Task:
        """The scores of a part, and how many texts are in each bin."""
        made_of = [FORMAT, [digest for _, digest in self.models], self.key, part_facts(part)]
        return Task(Path(self.folder) / key_of(made_of), (SCORES, COUNTS))

    def records_task(self, part: Part) -> Task:
        """The records of a part that are kept, and those that cannot be read."""
        digests = [digest for _, digest in self.models]
        made_of = [FORMAT, digests, self.key, self.packing, vars(self.choice), self.ranks_digest, part_facts(part)]
        return Task(Path(self.folder) / key_of(made_of), (DOCUMENTS, REJECTED))


def part_facts(part: Part) -> dict[str, Any]:
    """What the content of a part depends on."""
    facts = {"path": part.path, "version": part.file.version, "start": part.start, "size": part.size}
    return facts | {"stop": None if part.packed else part.stop}


@functools.lru_cache(maxsize=4)
def load(models: tuple[tuple[str, str], ...]) -> tuple[Classifier, ...]:
    """Read once per process."""
    return tuple(read_classifier(path) for path, _ in models)


def score_part(job: ScoreJob, part: Part) -> dict[str, Any]:
    """Writes the logits of a part's records, NaN where there is no text; counts records and bytes of text."""
    classifiers = load(job.models)
    linear = [each.linear for each in classifiers]
    columns = sum(each.columns for each in classifiers)
    ranked = ranked_columns(classifiers)
    counts_MB = np.zeros((len(ranked), BINS), np.int64)
    with job.scores_task(part).attempt() as (paths, counts):
        counts |= {"records": 0, "rejected": 0}
        with open(paths[0], "wb") as file:
            for block, is_whole in line_blocks(part.content(lambda data: add_to(job.counter, len(data)))):
                if is_whole:
                    logits, lines = score_lines(linear, block, job.key)
                    for at in np.flatnonzero(lines[:, 2] == 0).tolist():
                        logits[at] = _closer_look(linear, block[lines[at, 0] : lines[at, 1]], job.key)
                else:
                    logits = np.full((1, columns), math.nan)
                found = ~np.isnan(logits[:, 0])
                for model, column in enumerate(ranked):
                    counts_MB[model] += np.bincount(bins_of(logits[found, column].astype(np.float32)), minlength=BINS)
                counts["records"] += len(logits)
                counts["rejected"] += int((~found).sum())
                file.write(logits.astype(np.float32).tobytes())
        with open(paths[1], "wb") as table:
            np.save(table, counts_MB)
        counts |= {DAMAGE: part.damage} if part.damage else {}
    return counts


def ranked_columns(classifiers: Sequence[Classifier]) -> list[int]:
    """The columns of the classifiers of two labels, which have ranks."""
    first = np.cumsum([0, *(each.columns for each in classifiers)]).tolist()
    return [at for at, each in zip(first, classifiers, strict=False) if each.columns == 1]


def _closer_look(linear: Sequence[Any], line: bytes, key: str) -> NDArray[np.float64] | float:
    try:
        return score_texts(list(linear), [text_of(line, key)])[0]
    except RejectedRecordError:
        return math.nan


def write_part(job: ScoreJob, part: Part) -> dict[str, Any]:
    """Writes the records of a part that are kept, with their scores; counts them and their bytes."""
    classifiers = load(job.models)
    columns = sum(each.columns for each in classifiers)
    logits = np.fromfile(job.scores_task(part).file(SCORES), np.float32).reshape(-1, columns)
    added = AddedFields(classifiers, logits.astype(np.float64), job)
    at, row = part.start, 0
    with job.records_task(part).attempt() as (paths, counts):
        counts |= {"documents": 0, "left": 0, "rejects": {}}
        content = part.content(lambda data: add_to(job.counter, len(data)))
        with open_packed(paths[0], job.packing) as documents, open(paths[1], "wb") as rejects:
            for line, is_whole in split_lines(content, MAX_RECORD_BYTES):
                place, at = at, at + len(line) + 1
                if not line or line.isspace():
                    continue
                if np.isnan(logits[row, 0]):
                    reason, detail = _why(line, is_whole, job.key)
                    counts["rejects"][reason] = counts["rejects"].get(reason, 0) + 1
                    rejects.write(reject_line({"file": part.path, "byte": place}, reason, detail, shown(line)))
                elif added.kept[row]:
                    documents.write(added.line(line, row))
                    counts["documents"] += 1
                else:
                    counts["left"] += 1
                row += 1
        counts["sha256"] = hash_file(paths[0]).sha256
    return counts


def _why(line: bytes, is_whole: bool, key: str) -> tuple[str, str]:
    """The reason why a line has no score."""
    try:
        if is_whole:
            text_of(line, key)
        return "too_long", "no line end for too many bytes"
    except RejectedRecordError as error:
        return error.reason, error.detail


class AddedFields:
    """The fields that are added to the records of a part, and which records are kept."""

    def __init__(self, classifiers: Sequence[Classifier], logits_NC: NDArray[np.float64], job: ScoreJob) -> None:
        choice = job.choice
        self.fields: dict[str, list[Any]] = {}
        self.kept = ~np.isnan(logits_NC[:, 0])
        readable = np.where(np.isnan(logits_NC), 0.0, logits_NC)
        first = 0
        for each in classifiers:
            found = probabilities_of(readable[:, first : first + each.columns])
            first += each.columns
            name = choice.field if len(classifiers) == 1 else f"{choice.field}_{each.name}"
            if each.columns > 1:
                best = found.argmax(axis=1)
                self.fields[name] = [each.labels[label] for label in best.tolist()]
                name, found = f"{name}_score", found.max(axis=1)
                if choice.labels:
                    self.kept &= np.isin(best, [each.labels.index(label) for label in choice.labels])
            self.fields[name] = np.round(found, DIGITS).tolist()
            self.kept &= np.round(found, DIGITS) >= choice.least_score
        if job.ranks:
            ranked = ranked_columns(classifiers)
            digests = {each.name: each.digest for each in classifiers if each.columns == 1}
            steps = Ranks.read(job.ranks, digests, "ranks").steps_of(readable[:, ranked])
            self.fields[f"{choice.field}_rank"] = (steps / STEPS).tolist()
            self.kept &= steps >= choice.least_steps
        self._names = [b'"' + name.encode() + b'"' for name in self.fields]

    def line(self, line: bytes, row: int) -> bytes:
        """The record with its fields, which take the place of those that are there; its other bytes stay."""
        values = {name: column[row] for name, column in self.fields.items()}
        line = line.removeprefix(BYTE_ORDER_MARK).rstrip()
        if line.endswith(b"}") and not any(name in line for name in self._names):
            return line[:-1] + b"," + orjson.dumps(values)[1:] + b"\n"
        return orjson.dumps(parse_object(line) | values) + b"\n"
