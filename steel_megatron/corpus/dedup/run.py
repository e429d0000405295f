"""The whole run, stage by stage; a run that was stopped goes on at the first task that is not done."""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from steel_megatron.config import DataError
from steel_megatron.corpus.dedup import bands, exact, groups, sign, write
from steel_megatron.corpus.dedup.evaluation_sets import read_items
from steel_megatron.corpus.dedup.plan import DUPLICATES, PART_BYTES, REJECTS, REPORT, WORK, Plan, make_plan, output_of
from steel_megatron.corpus.dedup.report import make_report
from steel_megatron.corpus.dedup.settings import DedupSettings, SourceInput
from steel_megatron.corpus.dedup.store import SignatureStore
from steel_megatron.corpus.dedup.work import Job, Partitions, Stages
from steel_megatron.jobs.durable import join, whole, write_json
from steel_megatron.jobs.engine import Engine
from steel_megatron.jobs.manifest import JobManifest
from steel_megatron.jobs.parts import DAMAGE, InputFile, InputHashes
from steel_megatron.jobs.tasks import LOCK, work_folder

log = logging.getLogger(__name__)

PLAN = "plan.json"  # in the work folder
MOST_DOCUMENTS = (1 << 32) - 1
PROCESS_BYTES = 120 << 20  # of an idle worker: Python, numpy
LEAST_TASK_BYTES = 16 << 20
# Below, starting another process costs more than it gives.
BYTES_PER_WORKER = 16 << 20
DOCUMENTS_PER_WORKER = 200_000


@dataclass(frozen=True)
class Deduplicated:
    """What a run gave."""

    output: Path
    report: dict[str, Any]
    done_before: bool


def deduplicate(
    inputs: Sequence[SourceInput],
    output: str | os.PathLike[str],
    *,
    priority: Sequence[str] = (),
    settings: DedupSettings | None = None,
    evaluation_sets: Sequence[SourceInput] = (),
    workers: int = 1,
    memory: int = 4 << 30,
    engine: str = "local",
    overwrite: bool = False,
    skip_damaged: bool = False,
    signatures: str | os.PathLike[str] | None = None,
    part_bytes: int = PART_BYTES,
) -> Deduplicated:
    """Writes the documents of all inputs that are kept, ``duplicates.jsonl.zst`` and ``report.json`` to a folder.

    Of documents that are the same, the one of the source named first in ``priority`` is kept, then the first read.

    Args:
        memory: bytes that the workers of a machine may take together. No result depends on it, nor on ``workers``.
        engine: "local" or "ray".
        overwrite: replace what another run left in ``output``.
        skip_damaged: what can be read of a damaged file is taken, and the report names it.
        signatures: folder of the signatures of earlier runs, whose documents come before all of these, and to which
            those of this one are added.
        part_bytes: larger plain files are cut.

    Raises:
        ConfigError, DataError: wrong names, missing files, an output that is there.
    """
    stages = Stages(Engine(engine, max(workers, 1)), memory)
    target = Path(output)
    plan = make_plan(inputs, priority, settings or DedupSettings(), evaluation_sets, target, skip_damaged)
    read_items(plan.sets)  # so that a wrong file stops the run before it starts
    check_target(target)
    kept = None if signatures is None else Path(signatures).absolute()
    with SignatureStore.opened(kept, target) as store, work_folder(target / WORK, target) as folder:
        plan = store.compared(plan, overwrite)
        finished = finished_before(target, plan, overwrite)
        if finished is None:
            plan = gone_on_with(target, plan, part_bytes)
            with InputHashes() as hashes:
                _stages(store.earlier(Job(str(folder.absolute()), plan)), stages, target, hashes, store)
        elif not store.has_this_run:
            raise DataError(
                f"{kept} has no signatures of the run in {target}",
                rule="a run keeps its signatures while it is made",
                fix="give --overwrite to make it again, or leave --signatures out",
            )
        report = finished or json.loads((target / REPORT).read_bytes())
        shutil.rmtree(folder)
    return Deduplicated(target, report, done_before=finished is not None)


def _stages(job: Job, engine: Stages, target: Path, hashes: InputHashes, store: SignatureStore) -> None:
    """Signatures → exact duplicates → bands → pairs → groups → outputs."""
    plan = job.plan
    by_bytes = 1 + sum(file.bytes for file in plan.files) // BYTES_PER_WORKER
    signed = engine.run(sign.STAGE, sign.sign_part, job, plan.parts, most=by_bytes, on_done=hashes.take)
    if not plan.skip_damaged and any(counts.get(DAMAGE) for counts in signed):
        raise DataError(
            f"{target} holds an unfinished run with --skip-damaged, and an input is damaged",
            rule="a damaged input is an error without --skip-damaged",
            fix="give --skip-damaged again, or mend the input and give --overwrite",
        )
    documents = [*(part.documents for part in job.earlier), *(counts["documents"] for counts in signed)]
    firsts = list(itertools.accumulate(documents, initial=0))
    if firsts[-1] > MOST_DOCUMENTS:
        raise DataError(f"{firsts[-1]:,} documents", rule=f"a run takes at most {MOST_DOCUMENTS:,}")
    job = replace(job, firsts=tuple(firsts))
    job = replace(job, partitions=_partitions(job, engine))
    cut = job.partitions
    most = 1 + job.documents // DOCUMENTS_PER_WORKER
    engine.run(exact.PARTITION, exact.partition_part, job, job.signed, most=most)
    need = 2 * exact.TASK_BYTES_PER_ENTRY * math.ceil(job.documents / cut.exact)
    engine.run(exact.STAGE, exact.pair_partition, job, range(cut.exact), most=most, task_bytes=need)
    exact.write_firsts(job)
    if not plan.settings.exact_only:
        engine.run(bands.PARTITION, bands.partition_part, job, job.signed, most=most)
        need = bands.TASK_BYTES_PER_ENTRY * bands.ENTRIES_PER_DOCUMENT * math.ceil(job.documents / cut.bands)
        engine.run(bands.STAGE, bands.pair_partition, job, range(cut.bands), most=most, task_bytes=need)
        _drop(job, bands.PARTITION, ".records")
        need = groups.TASK_BYTES_PER_DOCUMENT * cut.documents_per_range
        ranges = range(groups.range_count(job))
        engine.run(groups.STAGE, groups.verify_range, job, ranges, most=most, task_bytes=need)
    groups.write_groups(job)
    engine.run(write.STAGE, write.write_part, job, plan.parts, most=by_bytes)
    engine.run(write.JOIN, write.join_file, job, range(len(plan.files)), most=by_bytes)
    others = {}
    for what, name, suffix in (("duplicates", DUPLICATES, write.DROPPED), ("rejects", REJECTS, write.REJECTED)):
        pieces = [job.path(write.STAGE, part.number, suffix) for part in plan.parts]
        with whole(target / name) as file:
            others[what] = join(pieces, file, name)
        if not others[what].bytes:  # duplicates are a packed list, if an empty one
            (target / name).unlink()
            del others[what]
    store.add(job)
    write_json(target / REPORT, make_report(job, hashes.of(plan.files), others))


def check_target(target: Path) -> None:
    """Refuses a folder of other things."""
    if target.exists() and not target.is_dir():
        raise DataError(f"{target} is a file", rule="outputs go to a folder", fix="use another --output")
    ours = (target / REPORT).exists() or (target / WORK).exists()
    if target.exists() and not ours and any(target.iterdir()):
        raise DataError(
            f"{target} is not empty", rule="outputs go to a folder of their own", fix="use another --output"
        )


def finished_before(target: Path, plan: Plan, overwrite: bool) -> dict[str, Any] | None:
    """The report of a finished run of the same plan; what is there of another plan is removed, or refused.

    Raises:
        DataError: a run of other files or settings is there.
    """
    for path in (target / REPORT, target / WORK / PLAN):
        if not path.exists():
            continue
        manifest = None
        try:
            content: dict[str, Any] = json.loads(path.read_bytes())
            manifest = JobManifest.of(content)
            difference = _in_todays_form(manifest, plan).difference(plan.manifest)
        except (ValueError, KeyError, TypeError, AttributeError):
            difference = f"{path.name} cannot be read"
        if not difference and not overwrite and path.name == REPORT:
            return content
        if not difference and not overwrite and manifest is not None and manifest.format == plan.manifest.format:
            return None
        if not difference and not overwrite:
            log.info(
                "signatures of a run before are made again: its version told traditional characters from simplified"
            )
            overwrite = True
        if not overwrite:
            raise DataError(
                f"{target} holds {'a run' if path.name == REPORT else 'an unfinished run'} of other files or settings: "
                + difference,
                rule="a run goes on only with the files and settings it was begun with",
                fix="use another --output, or --overwrite",
            )
        _remove_outputs(target, manifest.inputs if manifest is not None else ())
    return None


def _in_todays_form(manifest: JobManifest, plan: Plan) -> JobManifest:
    """What an earlier version noted of a run, with the settings that it did not know as they are asked for.

    So what it finished is left as it is.
    """
    return replace(
        manifest, format=plan.manifest.format, settings={"against": plan.settings.against, **manifest.settings}
    )


def gone_on_with(target: Path, plan: Plan, part_bytes: int) -> Plan:
    """The plan with its parts, which are those of the run before where one was stopped."""
    path = target / WORK / PLAN
    if path.exists():
        return plan.cut(part_bytes, json.loads(path.read_bytes())["parts"])
    plan = plan.cut(part_bytes)
    write_json(path, plan.content(), indent=None)
    return plan


def _remove_outputs(target: Path, inputs: Sequence[InputFile]) -> None:
    """Removes what a run of these inputs wrote, and nothing else."""
    (target / REPORT).unlink(missing_ok=True)
    for path in (target / WORK).iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
    for path in (target / output_of(file) for file in inputs):
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == target or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()
    for name in (DUPLICATES, REJECTS):
        (target / name).unlink(missing_ok=True)


def _partitions(job: Job, stages: Stages) -> Partitions:
    """How finely this run cuts its work; a run that goes on cuts as before."""
    path = job.file("partitions.json")
    if path.exists():
        return Partitions(**json.loads(path.read_bytes()))
    share = max(stages.memory // stages.engine.workers - PROCESS_BYTES, LEAST_TASK_BYTES)
    records = bands.ENTRIES_PER_DOCUMENT * job.documents
    fewest = min(stages.engine.workers, 1 + job.documents // DOCUMENTS_PER_WORKER)
    partitions = Partitions(
        exact=max(1, math.ceil(2 * exact.TASK_BYTES_PER_ENTRY * job.documents / share), fewest),
        bands=max(1, math.ceil(bands.TASK_BYTES_PER_ENTRY * records / share), fewest),
        documents_per_range=max(1, share // groups.TASK_BYTES_PER_DOCUMENT),
    )
    write_json(path, asdict(partitions), indent=None)
    return partitions


def _drop(job: Job, stage: str, suffix: str) -> None:
    """Frees the room of files that no later stage reads."""
    for path in job.file(stage).glob(f"*{suffix}"):
        path.unlink()
