"""Stage 6: the input is read again; kept lines go out as they came, of the others it is told why they fell."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from steel_megatron._minhash import PERMUTATIONS
from steel_megatron.corpus.dedup import exact, sign
from steel_megatron.corpus.dedup.groups import signature_files
from steel_megatron.corpus.dedup.lines import parse_record, read_lines
from steel_megatron.corpus.dedup.plan import output_of
from steel_megatron.corpus.dedup.work import GROUPS, Job
from steel_megatron.jobs.durable import give_name, join, whole
from steel_megatron.jobs.hashes import FileRecord, hash_file
from steel_megatron.jobs.packed import open_packed
from steel_megatron.jobs.parts import Part
from steel_megatron.jobs.rejects import reject_line, shown

STAGE, JOIN = "write", "join"
KEPT, DROPPED, REJECTED = ".kept.zst", ".dropped.zst", ".rejected.jsonl"
BATCH = 1 << 16  # documents handled at once
SHA256 = "sha256"  # of what is kept
NO_RECORD = "no object with a string under text"
BINS = 20  # of the histogram of estimated Jaccard


def write_part(job: Job, part: Part) -> dict[str, Any]:
    """Writes what is kept of a part, what is dropped and what is no record."""
    tally = _Tally()
    with job.task(STAGE, part.number, KEPT, DROPPED, REJECTED).attempt() as (paths, counts):
        with ExitStack() as stack:
            kept, dropped, rejected = (
                stack.enter_context(open_packed(path, packing))
                for path, packing in zip(paths, ("zst", "zst", ""), strict=True)
            )
            fates = _fates(job, part)
            for line_number, line in enumerate(read_lines(part), start=_lines_before(job, part) + 1):
                if not line or line.isspace():
                    continue
                fate = next(fates)
                tally.add(fate, len(line))
                if fate["reason"] == "kept":
                    kept.write(line + b"\n")
                elif fate["reason"] == "invalid":
                    place = {"file": part.path, "line": line_number}
                    rejected.write(reject_line(place, "invalid", NO_RECORD, shown(line)))
                else:
                    record = parse_record(line) or {}
                    where = {"input": part.file.source, "file": part.file.name, "line": line_number}
                    dropped.write(_dump({**where, "id": str(record.get("id", "")), **fate}) + b"\n")
        counts |= {**tally.counts(), SHA256: hash_file(paths[0]).sha256}
    return counts


def _dump(entry: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(entry)
    except TypeError:  # an id with half a surrogate pair
        entry["id"] = entry["id"].encode("utf-8", "backslashreplace").decode()
        return orjson.dumps(entry)


def _lines_before(job: Job, part: Part) -> int:
    """Lines of the file before this part."""
    earlier = [other.number for other in job.plan.parts_of[part.file] if other.number < part.number]
    return sum(job.counts(sign.STAGE, number)["lines"] for number in earlier)


def _fates(job: Job, part: Part) -> Iterator[dict[str, Any]]:
    """What becomes of each document of a part, in order."""
    number = job.first_of(part)
    with ExitStack() as stack:
        marks_file = stack.enter_context(open(job.path(sign.STAGE, part.number, ".marks"), "rb"))
        firsts_file = stack.enter_context(open(job.file(exact.FIRSTS), "rb"))
        groups_file = stack.enter_context(open(job.file(GROUPS), "rb"))
        contaminated = map(orjson.loads, stack.enter_context(open(job.path(sign.STAGE, part.number, ".found"), "rb")))
        ids = stack.enter_context(_Ids(job))
        firsts_file.seek(4 * number)
        groups_file.seek(4 * number)
        while marks := marks_file.read(BATCH):
            firsts = np.frombuffer(firsts_file.read(4 * len(marks)), np.uint32)
            groups = np.frombuffer(groups_file.read(4 * len(marks)), np.uint32)
            own = np.arange(number, number + len(marks), dtype=np.uint32)
            near = np.flatnonzero((groups != own) & (groups != firsts))
            pairs = own[near].astype(np.uint64) << np.uint64(32) | groups[near]
            shares = (
                dict(zip(near.tolist(), signature_files(job).matches(pairs).tolist(), strict=True)) if len(near) else {}
            )
            for at, mark in enumerate(marks):
                if mark & sign.INVALID:
                    yield {"reason": "invalid"}
                elif mark & sign.CONTAMINATED:
                    found = next(contaminated)
                    yield {"reason": "contaminated", **{key: found[key] for key in ("set", "item", "share")}}
                elif groups[at] == own[at]:
                    yield {"reason": "kept"}
                else:
                    source, kept_id = ids.of(int(groups[at]))
                    yield {
                        "reason": "near" if at in shares else "exact",
                        "kept_input": source,
                        "kept_id": kept_id,
                        "jaccard": round(shares.get(at, PERMUTATIONS) / PERMUTATIONS, 4),
                    }
            number += len(marks)


class _Ids:
    """The ids of documents, read where they are wanted."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._files: dict[int, tuple[Any, Any]] = {}

    def __enter__(self) -> _Ids:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        for ids, ends in self._files.values():
            ids.close()
            ends.close()
        self._files.clear()

    def of(self, document: int) -> tuple[str, str]:
        """The source and the id of a document."""
        number = bisect_right(self.job.firsts, document, hi=len(self.job.signed)) - 1
        if number not in self._files:
            if len(self._files) >= 128:
                self._close()
            paths = [self.job.signed_path(number, suffix) for suffix in (".ids", ".id_ends")]
            self._files[number] = paths[0].open("rb"), paths[1].open("rb")
        ids, ends = self._files[number]
        at = document - self.job.firsts[number]
        ends.seek(8 * max(at - 1, 0))
        bounds = np.frombuffer(ends.read(16 if at else 8), np.uint64).tolist()
        start, stop = bounds if at else (0, bounds[0])
        ids.seek(start)
        return self.job.source_of(number), ids.read(stop - start).decode()


class _Tally:
    """Counts of one part."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.pairs: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.sets: Counter[str] = Counter()
        self.histogram = [0] * (BINS + 1)

    def add(self, fate: dict[str, Any], line_bytes: int) -> None:
        reason = fate["reason"]
        self.reasons[reason] += 1
        self.bytes[reason] += line_bytes
        if reason == "contaminated":
            self.sets[fate["set"]] += 1
        elif "kept_input" in fate:
            self.pairs[fate["kept_input"]][reason] += 1
            if reason == "near":
                self.histogram[int(fate["jaccard"] * BINS)] += 1

    def counts(self) -> dict[str, Any]:
        pairs = {source: dict(counts) for source, counts in self.pairs.items()}
        return {
            "reasons": dict(self.reasons),
            "bytes": dict(self.bytes),
            "pairs": pairs,
            "sets": dict(self.sets),
            "jaccard": self.histogram,
        }


def join_file(job: Job, number: int) -> dict[str, Any]:
    """Stage 7: the parts of one input file become its output; then they go, so that the data is not there twice.

    What one part kept takes the output's name, and nothing is copied.
    """
    name = output_of(job.plan.files[number])
    target = Path(job.folder).parent / name
    target.parent.mkdir(parents=True, exist_ok=True)
    parts = job.plan.parts_of[job.plan.files[number]]
    pieces = [job.path(STAGE, part.number, KEPT) for part in parts]
    task = job.task(JOIN, number)
    try:
        with task.attempt() as (_, counts):
            if len(pieces) == 1:
                sha256 = job.counts(STAGE, parts[0].number).get(SHA256) or hash_file(pieces[0]).sha256
                made = FileRecord(name, pieces[0].stat().st_size, sha256)
                give_name(pieces[0], target)
            else:
                with whole(target) as file:
                    made = join(pieces, file)
            counts |= {"bytes": made.bytes, "sha256": made.sha256}
    except FileNotFoundError:
        if (done := task.marked()) is None:
            raise
        return done  # a worker of a killed run was at it still, and is done now
    for piece in pieces:
        piece.unlink(missing_ok=True)
    return counts
