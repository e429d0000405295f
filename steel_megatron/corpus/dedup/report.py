"""``report.json``: what went in and out, per file, per source, per pair of sources, per evaluation set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from steel_megatron.config import DataError
from steel_megatron.corpus.dedup import groups, sign, write
from steel_megatron.corpus.dedup.evaluation_sets import count_items
from steel_megatron.corpus.dedup.plan import output_of
from steel_megatron.corpus.dedup.work import Job
from steel_megatron.jobs.hashes import FileRecord
from steel_megatron.jobs.parts import DAMAGE, InputFile, damaged_files

REASONS = ("exact", "near", "contaminated", "invalid")


def make_report(job: Job, inputs: Sequence[InputFile], others: Mapping[str, FileRecord]) -> dict[str, Any]:
    """The manifest of the run, and more counts.

    Args:
        inputs: the files of the plan, with their hashes.
        others: files that the run wrote beside the documents.

    Raises:
        DataError: the records that went in are not those that came out or fell.
    """
    files: list[dict[str, Any]] = []
    sources: dict[str, Counter[str]] = {}
    pairs: dict[tuple[str, str], Counter[str]] = {}
    sets: Counter[str] = Counter()
    histogram = [0] * (write.BINS + 1)
    outputs: dict[str, FileRecord] = {}
    for number, file in enumerate(job.plan.files):
        counts: Counter[str] = Counter()
        for part in job.plan.parts_of[file]:
            written = job.counts(write.STAGE, part.number)
            counts["records"] += job.counts(sign.STAGE, part.number)["documents"]
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
        joined, output = job.counts(write.JOIN, number), output_of(file)
        outputs[output] = FileRecord(output, joined["bytes"], joined.get("sha256", ""))  # version 0.1.0 noted no hash
        total["output_bytes"] += joined["bytes"]
        files.append({"source": file.source, "input": file.path, "output": output, **_tidy(counts)})
        files[-1]["output_bytes"] = joined["bytes"]
    manifest = replace(
        job.plan.manifest,
        inputs=inputs,
        damaged=damaged_files(
            job.plan.parts, [job.counts(sign.STAGE, part.number).get(DAMAGE, ()) for part in job.plan.parts]
        ),
        outputs={**outputs, **others},
        records=sum(file["records"] for file in files),
        documents=sum(file["kept"] for file in files),
        rejects={reason: count for reason in REASONS if (count := sum(file[reason] for file in files))},
    )
    return manifest.content() | {
        "sources": {name: _tidy(counts) | {"output_bytes": counts["output_bytes"]} for name, counts in sources.items()},
        "pairs": [
            {"dropped": dropped, "kept": kept, "exact": counts["exact"], "near": counts["near"]}
            for (dropped, kept), counts in sorted(pairs.items())
        ],
        "near_by_jaccard": {f"{at / write.BINS:.2f}": count for at, count in enumerate(histogram) if count},
        "evaluation_sets": {name: counts | {"documents": sets[name]} for name, counts in count_items(job.plan).items()},
        "pairs_of_documents": _pair_counts(job),
        "files": files,
    }


def _pair_counts(job: Job) -> dict[str, int]:
    """How many pairs of documents shared a bucket, and how many of them were similar enough."""
    if job.plan.settings.exact_only:
        return {}
    verified = [job.counts(groups.STAGE, number) for number in range(groups.range_count(job))]
    return {
        "candidates": sum(counts["candidates"] for counts in verified),
        "verified": sum(counts["verified"] for counts in verified),
    }


def _tidy(counts: Counter[str]) -> dict[str, int]:
    return {key: counts[key] for key in ("records", "kept", *REASONS, "record_bytes", "kept_bytes")}
