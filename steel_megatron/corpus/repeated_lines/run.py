"""The whole run; one that was stopped goes on at the first task that is not done."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from steel_megatron.corpus.dedup import write
from steel_megatron.corpus.dedup.plan import DUPLICATES, PART_BYTES, REJECTS, REPORT, WORK, make_plan, output_of
from steel_megatron.corpus.dedup.run import (
    BYTES_PER_WORKER,
    LEAST_TASK_BYTES,
    PROCESS_BYTES,
    Deduplicated,
    check_target,
    finished_before,
    gone_on_with,
)
from steel_megatron.corpus.dedup.settings import DedupSettings, SourceInput
from steel_megatron.corpus.dedup.work import Partitions, Stages
from steel_megatron.corpus.repeated_lines import work
from steel_megatron.corpus.repeated_lines.settings import LineSettings
from steel_megatron.jobs.durable import join, whole, write_json
from steel_megatron.jobs.engine import Engine
from steel_megatron.jobs.hashes import FileRecord
from steel_megatron.jobs.parts import InputHashes
from steel_megatron.jobs.tasks import work_folder

BYTES_PER_LINE = 8  # of packed input: lines of thirty bytes
COUNTS = ("records", "kept", "changed", "emptied", "invalid", "lines", "characters")


def remove_lines(
    inputs: Sequence[SourceInput],
    output: str | os.PathLike[str],
    *,
    settings: LineSettings | None = None,
    workers: int = 1,
    memory: int = 4 << 30,
    engine: str = "local",
    overwrite: bool = False,
    part_bytes: int = PART_BYTES,
) -> Deduplicated:
    """Writes the records of all inputs without the lines that many documents of their source have.

    Args:
        memory: bytes that the workers of a machine may take together. No result depends on it, nor on ``workers``.
        engine: "local" or "ray".
        overwrite: replace what another run left in ``output``.
        part_bytes: larger plain files are cut.

    Raises:
        ConfigError, DataError: wrong names, missing files, an output that is there.
    """
    lines = settings or LineSettings()
    stages = Stages(Engine(engine, max(workers, 1)), memory)
    target = Path(output)
    plan = make_plan(inputs, (), DedupSettings(), (), target)
    told = {name: value for name, value in plan.manifest.settings.items() if name not in asdict(plan.settings)}
    manifest = replace(plan.manifest, command="dedup-lines", settings={**told, **asdict(lines)})
    plan = replace(plan, manifest=manifest)
    check_target(target)
    with work_folder(target / WORK, target) as folder:
        finished = finished_before(target, plan, overwrite)
        if finished is None:
            plan = gone_on_with(target, plan, part_bytes)
            share = max(memory // stages.engine.workers - PROCESS_BYTES, LEAST_TASK_BYTES)
            most_lines = sum(file.bytes for file in plan.files) // BYTES_PER_LINE
            cut = Partitions(1, max(1, math.ceil(work.TASK_BYTES_PER_ENTRY * most_lines / share)), 1)
            path = folder / "partitions.json"
            if path.exists():
                cut = Partitions(**json.loads(path.read_bytes()))
            write_json(path, asdict(cut), indent=None)
            firsts = tuple(range(len(plan.parts) + 1))
            with InputHashes() as hashes:
                _stages(work.LineJob(str(folder.absolute()), plan, firsts, cut, lines=lines), stages, target, hashes)
        report = finished or json.loads((target / REPORT).read_bytes())
        shutil.rmtree(folder)
    return Deduplicated(target, report, done_before=finished is not None)


def _stages(job: work.LineJob, stages: Stages, target: Path, hashes: InputHashes) -> None:
    """Counts → repeated lines → outputs."""
    plan = job.plan
    most = 1 + sum(file.bytes for file in plan.files) // BYTES_PER_WORKER
    stages.run(work.COUNT, work.count_part, job, plan.parts, most=most, on_done=hashes.take)
    found = stages.run(work.REPEATED, work.find_repeated, job, range(job.partitions.bands), most=most)
    with whole(job.file(work.LINES)) as file:
        join((job.path(work.REPEATED, number, ".lines") for number in range(job.partitions.bands)), file)
    top = sorted(itertools.chain.from_iterable(counts["top"] for counts in found), key=lambda pair: (-pair[0], pair[1]))
    write_json(job.file(work.TOP), top[: work.TOLD], indent=None)
    written = stages.run(write.STAGE, work.write_part, job, plan.parts, most=most)
    joined = stages.run(write.JOIN, write.join_file, job, range(len(plan.files)), most=most)
    others = {}
    for what, name, suffix in (("duplicates", DUPLICATES, write.DROPPED), ("rejects", REJECTS, write.REJECTED)):
        with whole(target / name) as file:
            others[what] = join((job.path(write.STAGE, part.number, suffix) for part in plan.parts), file, name)
        if not others[what].bytes:
            (target / name).unlink()
            del others[what]
    outputs = {
        (name := output_of(file)): FileRecord(name, made["bytes"], made["sha256"])
        for file, made in zip(plan.files, joined, strict=True)
    }
    sources: dict[str, Counter[str]] = {}
    first: dict[str, tuple[str, str]] = {}
    for part, counts in zip(plan.parts, written, strict=True):
        sources.setdefault(part.file.source, Counter()).update({key: counts[key] for key in COUNTS})
        for number, text in counts["texts"].items():
            first.setdefault(number, (part.file.source, text))
    content = replace(
        plan.manifest,
        inputs=hashes.of(plan.files),
        outputs={**outputs, **others},
        records=sum(counts["records"] for counts in written),
        documents=sum(counts["kept"] for counts in written),
        rejects={key: count for key in ("emptied", "invalid") if (count := sum(counts[key] for counts in written))},
    ).content()
    shown: list[dict[str, Any]] = [
        {"source": first[str(number)][0], "documents": documents, "line": first[str(number)][1]}
        for documents, number in top[: work.TOLD]
    ]
    repeated = {"repeated_lines": sum(counts["lines"] for counts in found), "most_frequent": shown}
    told = {name: {key: counts[key] for key in COUNTS} for name, counts in sources.items()}
    write_json(target / REPORT, {**content, "sources": told, **repeated})
