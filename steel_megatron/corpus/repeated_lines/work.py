"""The stages: lines are counted by their hashes, in partitions on disk; then the texts are read again and cut.

Lines are told apart by 64 bits of their hash and the source: among 10^11 lines of which a million are repeated, one is
taken for another with a chance of half a percent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import xxhash
from numpy.typing import NDArray

from steel_megatron.corpus.dedup.lines import parse_record, read_lines
from steel_megatron.corpus.dedup.partitions import read_partition, write_partitioned
from steel_megatron.corpus.dedup.work import Job
from steel_megatron.corpus.dedup.write import DROPPED, KEPT, NO_RECORD, REJECTED, SHA256
from steel_megatron.corpus.dedup.write import STAGE as WRITE
from steel_megatron.corpus.repeated_lines.settings import LineSettings
from steel_megatron.jobs.hashes import hash_file
from steel_megatron.jobs.packed import open_packed
from steel_megatron.jobs.parts import Part
from steel_megatron.jobs.rejects import reject_line, shown

COUNT, REPEATED = "line_counts", "repeated_lines"
ENTRY = np.dtype([("line", "<u8"), ("documents", "<u4")])
TASK_BYTES_PER_ENTRY = 4 * ENTRY.itemsize  # the entry, its place in order, and room to add
BATCH = 1 << 20  # hashes held while a part is read
LINES = "lines.u64"  # hashes of all repeated lines, ascending
TOP = "top.json"  # the most frequent of them
TOLD = 100


@dataclass(frozen=True)
class LineJob(Job):
    """
    Args:
        lines: which lines are repeated ones.
    """

    lines: LineSettings = field(default_factory=LineSettings)

    def seed(self, part: Part) -> int:
        """Lines of different sources are different lines."""
        return sorted({file.source for file in self.plan.files}).index(part.file.source)


def count_part(job: LineJob, part: Part) -> dict[str, Any]:
    """The hashes of a part's lines and how many documents have each, ordered by partition."""
    count = job.partitions.bands
    bounds = (np.arange(1, count, dtype=object) * (1 << 64) // count).astype(np.uint64)

    def batches() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint64]]]:
        for hashes in _hashes(job, part):
            entries = np.empty(len(np.unique(hashes)), ENTRY)
            entries["line"], entries["documents"] = np.unique(hashes, return_counts=True)
            ends = np.append(np.searchsorted(entries["line"], bounds), len(entries))
            yield entries.view(np.uint8), np.diff(ends, prepend=0).astype(np.uint64)

    return write_partitioned(job, COUNT, part.number, batches(), ENTRY.itemsize)


def _hashes(job: LineJob, part: Part) -> Iterator[NDArray[np.uint64]]:
    held: list[int] = []
    seed = job.seed(part)
    for line in read_lines(part):
        record = parse_record(line) if line and not line.isspace() else None
        if record is not None:
            held += {number for number, _ in _numbered(job.lines, record["text"], seed) if number is not None}
        if len(held) >= BATCH:
            yield np.array(held, np.uint64)
            held.clear()
    if held:
        yield np.array(held, np.uint64)


def _numbered(settings: LineSettings, text: str, seed: int) -> list[tuple[int | None, str]]:
    """The lines of a text with their hashes; None where one is not counted."""
    keys = ((settings.key(line), line) for line in settings.cut(text))
    return [(xxhash.xxh3_64_intdigest(key, seed) if key else None, line) for key, line in keys]


def find_repeated(job: LineJob, number: int) -> dict[str, Any]:
    """The lines of a partition that enough documents have, ascending."""
    entries = read_partition(job, COUNT, number, ENTRY.itemsize).view(ENTRY)
    entries = entries[np.argsort(entries["line"])]
    firsts = np.flatnonzero(np.diff(entries["line"], prepend=entries["line"][:1] + np.uint64(1)))
    counts = np.add.reduceat(entries["documents"].astype(np.int64), firsts) if len(firsts) else np.empty(0, np.int64)
    lines = entries["line"][firsts]
    many = counts >= job.lines.in_documents
    lines, counts = lines[many], counts[many]
    with job.task(REPEATED, number, ".lines").attempt() as ([path], told):
        lines.tofile(path)
        order = np.lexsort((lines, -counts))[:TOLD]
        told |= {"lines": len(lines), "top": [[int(counts[at]), int(lines[at])] for at in order]}
    return told


def write_part(job: LineJob, part: Part) -> dict[str, Any]:
    """Writes the records of a part without repeated lines, those that have no other, and what is no record."""
    path = job.file(LINES)
    repeated = np.memmap(path, np.uint64, "r") if path.stat().st_size else np.empty(0, np.uint64)
    wanted = {number for _, number in json.loads(job.file(TOP).read_bytes())}
    texts: dict[str, str] = {}
    tally = dict.fromkeys(("records", "kept", "changed", "emptied", "invalid", "lines", "characters"), 0)
    with job.task(WRITE, part.number, KEPT, DROPPED, REJECTED).attempt() as (paths, counts):
        with ExitStack() as stack:
            kept, emptied, rejected = (
                stack.enter_context(open_packed(path, packing))
                for path, packing in zip(paths, ("zst", "zst", ""), strict=True)
            )
            for number, line in enumerate(read_lines(part), start=1):
                if not line or line.isspace():
                    continue
                tally["records"] += 1
                record = parse_record(line)
                if record is None:
                    tally["invalid"] += 1
                    place = {"file": part.path, "from_byte": part.start, "line": number}
                    rejected.write(reject_line(place, "invalid", NO_RECORD, shown(line)))
                    continue
                text, cut = _without(job, part, record["text"], repeated)
                for hashed, removed in cut:
                    if hashed in wanted:
                        texts.setdefault(str(hashed), removed.strip())
                tally["lines"] += len(cut)
                tally["characters"] += len(record["text"]) - len(text) if cut else 0
                if cut and not text.strip():
                    tally["emptied"] += 1
                    emptied.write(line + b"\n")
                    continue
                tally["kept"] += 1
                tally["changed"] += bool(cut)
                kept.write((_dump({**record, "text": text}) if cut else line) + b"\n")
        counts |= {**tally, "texts": texts, SHA256: hash_file(paths[0]).sha256}
    return counts


def _without(job: LineJob, part: Part, text: str, repeated: NDArray[np.uint64]) -> tuple[str, list[tuple[int, str]]]:
    """A text without its repeated lines, and these."""
    lines = _numbered(job.lines, text, job.seed(part))
    counted = np.array([number for number, _ in lines if number is not None], np.uint64)
    if not len(counted) or not len(repeated):
        return text, []
    places = np.minimum(np.searchsorted(repeated, counted), len(repeated) - 1)
    found = set(counted[repeated[places] == counted].tolist())
    if not found:
        return text, []
    cut = [(number, line) for number, line in lines if number is not None and number in found]
    return job.lines.join([line for number, line in lines if number not in found]), cut


def _dump(record: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(record)
    except TypeError:  # half a surrogate pair, or a number of more than 64 bits
        return json.dumps(record).encode()
