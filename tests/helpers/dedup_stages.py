"""Stages of deduplication run one by one, as far as a test wants them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from helpers.dedup_runs import write_source
from steel_megatron.corpus.dedup import bands, exact, groups, sign, write
from steel_megatron.corpus.dedup.plan import make_plan
from steel_megatron.corpus.dedup.settings import DedupSettings, SourceInput
from steel_megatron.corpus.dedup.work import Job, Partitions

STAGES = (sign.STAGE, exact.PARTITION, exact.STAGE, bands.PARTITION, bands.STAGE, groups.STAGE, write.STAGE, write.JOIN)


def words(seed: int, count: int = 120) -> str:
    """A text like no other."""
    chosen = random.Random(seed)
    return " ".join("".join(chosen.choices("abcdefghij", k=6)) for _ in range(count))


def changed(text: str) -> str:
    """The text with its last word changed: a near duplicate."""
    return text[:-6] + "zzzzzz"


def signed(folder: Path, sources: Mapping[str, Iterable[str]], cut: Partitions, **settings: Any) -> Job:
    """A job behind stage 1; each source is a file, and a part."""
    inputs = [SourceInput(name, str(write_source(folder, name, texts))) for name, texts in sources.items()]
    plan = make_plan(inputs, (), DedupSettings(**settings), ()).cut(1 << 20)
    job = Job(str(folder / "out" / "work"), plan)
    for stage in STAGES:
        job.file(stage).mkdir(parents=True, exist_ok=True)
    documents = [sign.sign_part(job, part)["documents"] for part in plan.parts]
    return replace(job, firsts=tuple(itertools.accumulate(documents, initial=0)), partitions=cut)


def through_exact(job: Job) -> Job:
    """Stage 2."""
    for at in job.signed:
        exact.partition_part(job, at)
    for number in range(job.partitions.exact):
        exact.pair_partition(job, number)
    exact.write_firsts(job)
    return job


def through_bands(job: Job) -> Job:
    """Stages 2 and 3."""
    through_exact(job)
    for at in job.signed:
        bands.partition_part(job, at)
    for number in range(job.partitions.bands):
        bands.pair_partition(job, number)
    return job


def through_groups(job: Job) -> Job:
    """Stages 2 to 5."""
    through_bands(job)
    for number in range(groups.range_count(job)):
        groups.verify_range(job, number)
    groups.write_groups(job)
    return job


def pairs_of(job: Job, stage: str, numbers: Iterable[int]) -> set[tuple[int, int]]:
    """The pairs (later, earlier) that the tasks of a stage left."""
    pairs = np.concatenate([np.fromfile(job.path(stage, number, ".pairs"), np.uint64) for number in numbers]).tolist()
    return {(pair >> 32, pair & 0xFFFFFFFF) for pair in pairs}
