"""Stages 4 and 5: candidate pairs are verified by their signatures; verified pairs say which document stays for which.

Against ``kept`` the documents are gone through in the order of their priority, and one falls only if it is similar
enough to one that stays. Against ``any`` the pairs join documents into groups, of each of which the first stays.
"""

from __future__ import annotations

import math
import shutil
from functools import lru_cache
from typing import Any

import numpy as np

from steel_megatron._minhash import BANDS, SignatureFiles, flatten, unite
from steel_megatron.corpus.dedup import bands, exact
from steel_megatron.corpus.dedup.work import GROUPS, Job
from steel_megatron.jobs.durable import whole

STAGE = "verified_pairs"
# A document has at most four pairs per band, each held three times while they are ordered.
TASK_BYTES_PER_DOCUMENT = 4 * BANDS * 8 * 3


@lru_cache(maxsize=1)
def signature_files(job: Job) -> SignatureFiles:
    """The signatures of a run; opened once per process."""
    paths = [str(job.signed_path(at, ".signatures")) for at in job.signed]
    return SignatureFiles(paths, list(job.firsts[:-1]))


def range_count(job: Job) -> int:
    return math.ceil((job.documents - job.own_first) / job.partitions.documents_per_range)


def verify_range(job: Job, number: int) -> dict[str, Any]:
    """Of the pairs whose later document is in a range of those of this run, those similar enough."""
    least = job.own_first + number * job.partitions.documents_per_range
    bounds = np.array([least, least + job.partitions.documents_per_range], np.uint64) << np.uint64(32)
    pieces = []
    for partition in range(job.partitions.bands):
        path = job.path(bands.STAGE, partition, ".pairs")
        if path.stat().st_size:
            pairs = np.memmap(path, np.uint64, "r")
            start, stop = np.searchsorted(pairs, bounds)
            pieces.append(np.array(pairs[start:stop]))
    candidates = np.unique(np.concatenate(pieces)) if pieces else np.empty(0, np.uint64)
    agreeing = signature_files(job).matches(candidates)
    verified = candidates[agreeing >= job.plan.settings.least_agreeing]
    with job.task(STAGE, number, ".pairs").attempt() as ([path], counts):
        verified.tofile(path)
        counts |= {"candidates": len(candidates), "verified": len(verified)}
    return counts


def write_groups(job: Job) -> None:
    """Writes of each document the one that stays for it: 32 bits per document in a file that is mapped, not held."""
    target = job.file(GROUPS)
    if target.exists():
        return
    with whole(target) as file, open(job.file(exact.FIRSTS), "rb") as firsts:
        shutil.copyfileobj(firsts, file)
        file.seek(0)
        for path in job.stays:
            with open(path, "rb") as stay:
                shutil.copyfileobj(stay, file)
        file.flush()
        if job.documents and not job.plan.settings.exact_only:
            parents = np.memmap(file.name, np.uint32, "r+")
            settings = job.plan.settings
            for number in range(range_count(job)):
                pairs = np.fromfile(job.path(STAGE, number, ".pairs"), np.uint64)
                if settings.against == "any":
                    unite(parents, pairs)
                elif len(pairs):
                    signature_files(job).fall(parents, pairs, settings.least_agreeing)
            flatten(parents)
            parents.flush()
