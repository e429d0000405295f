"""Stage 1: one pass over the texts. Of each record: a mark, its id, the hash of its text, its signature.

Names: D documents of a batch, P permutations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import orjson
import xxhash

from steel_megatron._minhash import plain_texts, signatures
from steel_megatron.corpus.dedup.evaluation_sets import searched_items
from steel_megatron.corpus.dedup.lines import parse_record, read_lines
from steel_megatron.corpus.dedup.work import SIGNED, Job
from steel_megatron.jobs.parts import DAMAGE, Part

STAGE = SIGNED
# Marks. A document without one takes part in everything.
INVALID, CONTAMINATED, EMPTY, SHORT = 1, 2, 4, 8
BATCH_BYTES = 4 << 20
BATCH_LINES = 4096
HASH_BYTES = 16


class _Outputs(NamedTuple):
    marks: BinaryIO  # a byte per document
    hashes: BinaryIO  # HASH_BYTES per document
    signatures: BinaryIO  # PERMUTATIONS 16-bit numbers per document
    ids: BinaryIO  # one behind the other
    id_ends: BinaryIO  # 64-bit, where each ends
    found: BinaryIO  # a JSON line per contaminated document


def sign_part(job: Job, part: Part) -> dict[str, Any]:
    """Reads a part and writes what later stages need of it."""
    with job.task(STAGE, part.number, *(f".{name}" for name in _Outputs._fields)).attempt() as (paths, counts):
        counts |= {"documents": 0, "lines": 0}
        with ExitStack() as stack:
            out = _Outputs(*(stack.enter_context(open(path, "wb")) for path in paths))
            for lines in _batches(part, counts):
                _sign_batch(job, lines, counts["documents"], out)
                counts["documents"] += len(lines)
        counts[DAMAGE] = part.damage
    return counts


def _batches(part: Part, counts: dict[str, int]) -> Iterator[list[bytes]]:
    """The lines that are not blank; all lines are counted."""
    batch: list[bytes] = []
    size = 0
    for line in read_lines(part):
        counts["lines"] += 1
        if not line or line.isspace():
            continue
        batch.append(line)
        size += len(line)
        if size >= BATCH_BYTES or len(batch) == BATCH_LINES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _sign_batch(job: Job, lines: list[bytes], first: int, out: _Outputs) -> None:
    records = [parse_record(line) for line in lines]
    texts = [record["text"] if record is not None else "" for record in records]
    marks_D = np.array([INVALID if record is None else 0 for record in records], np.uint8)
    if job.plan.sets:
        searched = searched_items(job.plan)
        for at, number, hits, grams in searched.overlap.find(texts):
            item = searched.items[number]
            marks_D[at] |= CONTAMINATED
            found = {"document": first + at, "set": item.set_name, "item": item.where, "share": round(hits / grams, 4)}
            out.found.write(orjson.dumps(found) + b"\n")
    plain, ends_D = plain_texts(texts)
    view, start, hashes = plain.data.cast("B"), 0, []
    for at, end in enumerate(ends_D.tolist()):
        if start == end:
            marks_D[at] |= EMPTY
        hashes.append(xxhash.xxh3_128_digest(view[start:end]))
        start = end
    if not job.plan.settings.exact_only:
        signatures_DP, shingles_D = signatures(texts)
        marks_D[shingles_D == 0] |= SHORT
        out.signatures.write(signatures_DP.data)
    ids = [_id_bytes(record) for record in records]
    id_ends_D = np.cumsum([len(given) for given in ids], dtype=np.uint64) + np.uint64(out.ids.tell())
    out.hashes.write(b"".join(hashes))
    out.ids.write(b"".join(ids))
    out.id_ends.write(id_ends_D.data)
    out.marks.write(marks_D.data)


def _id_bytes(record: dict[str, Any] | None) -> bytes:
    given = "" if record is None else record.get("id", "")
    return (given if isinstance(given, str) else str(given)).encode("utf-8", "backslashreplace")
