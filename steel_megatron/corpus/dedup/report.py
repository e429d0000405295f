"""``report.json``: what went in and out, per file, per source, per pair of sources, per evaluation set."""

from __future__ import annotations

from collections import Counter
from typing import Any

from steel_megatron import __version__
from steel_megatron.config import DataError
from steel_megatron.corpus.dedup import groups, sign, write
from steel_megatron.corpus.dedup.evaluation_sets import count_items
from steel_megatron.corpus.dedup.work import Job

REASONS = ("exact", "near", "contaminated", "invalid")


def make_report(job: Job) -> dict[str, Any]:
    """
    Raises:
        DataError: the records that went in are not those that came out or fell.
    """
    files: list[dict[str, Any]] = []
    sources: dict[str, Counter[str]] = {}
    pairs: dict[tuple[str, str], Counter[str]] = {}
    sets: Counter[str] = Counter()
    histogram = [0] * (write.BINS + 1)
    parts_of: dict[int, list[int]] = {}
    for part in job.plan.parts:
        parts_of.setdefault(part.file, []).append(part.number)
    for number, file in enumerate(job.plan.files):
        counts: Counter[str] = Counter()
        for part_number in parts_of[number]:
            written = _done(job, write.STAGE, part_number)
            counts["records"] += _done(job, sign.STAGE, part_number)["documents"]
            counts.update(written["reasons"])
            counts["record_bytes"] += sum(written["bytes"].values())
            counts["kept_bytes"] += written["bytes"].get("kept", 0)
            sets.update(written["sets"])
            histogram = [total + more for total, more in zip(histogram, written["jaccard"], strict=True)]
            for kept_source, reasons in written["pairs"].items():
                pairs.setdefault((file.source, kept_source), Counter()).update(reasons)
        if counts["records"] != sum(counts[reason] for reason in ("kept", *REASONS)):
            raise DataError(f"{file.path}: records are missing: {dict(counts)}", rule="records in = kept + dropped")
        total = sources.setdefault(file.source, Counter())
        total.update(counts)
        total["output_bytes"] += (output := _done(job, "join", number)["bytes"])
        files.append({"source": file.source, "input": file.path, "output": file.output, **_tidy(counts)})
        files[-1]["output_bytes"] = output
    return {
        "sources": {name: _tidy(counts) | {"output_bytes": counts["output_bytes"]} for name, counts in sources.items()},
        "pairs": [
            {"dropped": dropped, "kept": kept, "exact": counts["exact"], "near": counts["near"]}
            for (dropped, kept), counts in sorted(pairs.items())
        ],
        "near_by_jaccard": {f"{at / write.BINS:.2f}": count for at, count in enumerate(histogram) if count},
        "evaluation_sets": {name: counts | {"documents": sets[name]} for name, counts in count_items(job.plan).items()},
        "pairs_of_documents": _pair_counts(job),
        "files": files,
        "code_version": __version__,
        "plan": job.plan.fingerprint(),
    }


def _pair_counts(job: Job) -> dict[str, int]:
    """How many pairs of documents shared a bucket, and how many of them were similar enough."""
    if job.plan.settings.exact_only:
        return {}
    verified = [_done(job, groups.STAGE, number) for number in range(groups.range_count(job))]
    return {
        "candidates": sum(counts["candidates"] for counts in verified),
        "verified": sum(counts["verified"] for counts in verified),
    }


def _done(job: Job, stage: str, number: int) -> dict[str, Any]:
    counts = job.done(stage, number)
    assert counts is not None, f"{stage} {number} has not run"
    return counts


def _tidy(counts: Counter[str]) -> dict[str, int]:
    return {key: counts[key] for key in ("records", "kept", *REASONS, "record_bytes", "kept_bytes")}
