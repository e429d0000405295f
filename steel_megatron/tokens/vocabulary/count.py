"""The tasks of counting: a part of the input → its pre-tokens with counts; those of all parts → a range of hashes."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from steel_megatron._bpe_train import Counter, merge_counts
from steel_megatron._jsonl import extract
from steel_megatron.config import DataError
from steel_megatron.jobs.parts import Part
from steel_megatron.jobs.progress import add_to
from steel_megatron.jobs.tasks import Task
from steel_megatron.tokenizer.normalization import nfc
from steel_megatron.tokens.tokenise.lines import LineBatch, line_batches
from steel_megatron.tokens.tokenise.records import CONTROL, TOO_LONG, RejectedLineError, texts_of

COUNTS = ".counts"
LAST_HASH = (1 << 64) - 1
# A table of so many bytes for each entry, and for each byte of its entries, has room for them (counts.cpp).
TABLE_ENTRY, TABLE_BYTES = 72, 3
TABLE_BYTES_PER_BYTE = 8  # of text, whose pre-tokens are short
LEAST_TABLE_BYTES = 1 << 20


@dataclass(frozen=True)
class TextPart(Part):
    """A part of which only so many bytes of text are taken, and at least one text; None: all."""

    share: float | None = None


@dataclass(frozen=True)
class CountJob:
    """What every worker needs to know.

    Args:
        key: field that holds the text.
        sections: ranges of hashes, each of which lies in one piece in a file of counts.
        memory: bytes of a worker's table; the counts do not depend on it.
    """

    folder: str
    key: str
    sections: int
    memory: int
    counter: Any = None  # shared counts of what is done

    def task(self, part: Part) -> Task:
        return Task(Path(self.folder, f"{part.number:06d}"), (COUNTS,))


def count_part(job: CountJob, part: TextPart) -> dict[str, Any]:
    """Counts the pre-tokens of a part; returns documents, bytes of text and rejects by reason."""
    read = told = 0

    def on_read(data: bytes) -> None:
        nonlocal read
        read += len(data)

    documents = text_bytes = 0
    rejects: Tally[str] = Tally()
    with job.task(part).attempt() as (paths, mark):
        # A table that a part cannot fill would only be slower.
        memory = job.memory if part.packed else min(job.memory, TABLE_BYTES_PER_BYTE * part.size + LEAST_TABLE_BYTES)
        counter = Counter(str(paths[0]), memory, job.sections)
        for batch in line_batches(part.content(on_read)):
            texts = []
            for text in _texts(job.key, batch, rejects):
                if part.share is not None and documents and text_bytes >= part.share:
                    break
                texts.append(nfc(text))
                documents += 1
                text_bytes += len(text) if text.isascii() else len(text.encode("utf-8"))
            counter.add(texts)
            add_to(job.counter, read - told)
            told = read
            if part.share is not None and text_bytes >= part.share:
                break
        counter.finish()
        add_to(job.counter, part.size - told)
        mark.update(documents=documents, text_bytes=text_bytes, rejects=dict(rejects))
    return mark


def _texts(key: str, batch: LineBatch, rejects: Tally[str]) -> Iterator[str]:
    """The texts of lines, in order; the others are counted as they are met."""
    (texts,), odd, places, _, _ = extract(batch.data, [key], CONTROL)
    unsure = iter(odd)
    for text in texts:
        if text is None:
            _, start, stop = places[next(unsure)].tolist()
            try:
                yield texts_of(batch.data[start:stop], [key])[0]
            except RejectedLineError as error:
                rejects[error.reason] += 1
        else:
            yield text
    rejects[TOO_LONG] += bool(batch.cut_line)


@dataclass(frozen=True)
class HashRange:
    """Pre-tokens with hashes from ``first`` to ``last``.

    Args:
        size: bytes of their counts in all parts.
        memory: bytes of a table that holds them.
    """

    first: int
    last: int
    size: int
    memory: int


@dataclass(frozen=True)
class MergeJob:
    """What every worker needs to know to bring the counts of all parts together."""

    folder: str
    counts: tuple[str, ...]

    def task(self, of: HashRange) -> Task:
        return Task(Path(self.folder, f"range.{of.first:016x}.{of.last:016x}"), (COUNTS,))


def merge_range(job: MergeJob, of: HashRange) -> dict[str, Any]:
    """Adds up the counts of a range's pre-tokens.

    Raises:
        DataError: there are more than the range was cut for, which only a fault in the hashes could bring about.
    """
    with job.task(of).attempt() as (paths, mark):
        try:
            _, entries = merge_counts(list(job.counts), of.first, of.last, of.memory, str(paths[0]))
        except ValueError as error:
            raise DataError(
                f"{paths[0]}: {error}", rule=f"{of.memory:,} bytes hold them", fix="give more --memory"
            ) from None
        mark["pretokens"] = entries
    return mark


def hash_ranges(sections: list[tuple[int, int]], memory: int) -> list[HashRange]:
    """All hashes in ranges whose tables fit the memory, whatever part of the pre-tokens the parts have in common.

    Args:
        sections: bytes and entries of each, in sum over all parts.
    """
    width = (1 << 64) // max(len(sections), 1)
    ranges: list[HashRange] = []
    first = size = need = 0
    for number, (section_bytes, entries) in enumerate(sections):
        more = max(TABLE_ENTRY * entries, TABLE_BYTES * section_bytes)
        if need + more > memory and need:
            ranges.append(HashRange(first, number * width - 1, size, need))
            first, size, need = number * width, 0, 0
        size, need = size + section_bytes, need + more
        pieces = -(-need // memory)
        if pieces > 1:  # this section alone
            pieces += 1  # since hashes are not quite even
            cuts = [first + piece * (width // pieces) for piece in range(pieces)] + [first + width]
            ranges += [HashRange(start, stop - 1, size // pieces, memory) for start, stop in pairwise(cuts)]
            first, size, need = (number + 1) * width, 0, 0
    if need:
        ranges.append(HashRange(first, LAST_HASH, size, need))
    elif ranges:
        ranges[-1] = replace(ranges[-1], last=LAST_HASH)
    return ranges
