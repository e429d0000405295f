"""Texts of JSON lines in a stream, up to a limit that every file has its share of."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from steel_megatron.jobs.files import is_url, state_of
from steel_megatron.jobs.progress import Progress
from steel_megatron.jobs.unpack import read_content
from steel_megatron.tokens.tokenise.lines import line_batches
from steel_megatron.tokens.tokenise.records import TEXT, Record, RejectedLineError, record_of, texts_of

SAMPLE_FILES = 8
SAMPLE_BYTES = 1 << 20  # of all texts of a sample together
SAMPLE_TEXT = 1 << 15  # characters of one text


class TextSample:
    """The texts from the head of each file; lines that are no record are counted and passed over.

    Args:
        key: field that holds the text.
        max_bytes: UTF-8 bytes of text in all; a file gives up to its share by size on disk, and at least one text.
            None takes everything.
    """

    def __init__(self, files: Sequence[str | os.PathLike[str]], key: str, max_bytes: int | None = None) -> None:
        self._files = [os.fspath(file) for file in files]
        self._key = key
        self._max_bytes = max_bytes
        self.documents = self.text_bytes = 0
        self.rejects: Counter[str] = Counter()

    def __iter__(self) -> Iterator[str]:
        sizes = [state_of(file)[0] for file in self._files]
        total = sum(sizes) if self._max_bytes is None else min(self._max_bytes, sum(sizes))
        with Progress("read text", total) as progress:
            for file, size in zip(self._files, sizes, strict=True):
                share = None if self._max_bytes is None else self._max_bytes * size / max(sum(sizes), 1)
                taken = 0
                for text in self._texts(file):
                    length = len(text.encode("utf-8"))
                    taken += length
                    self.documents += 1
                    self.text_bytes += length
                    progress.add(length)
                    yield text
                    if share is not None and taken >= share:
                        break

    def summary(self) -> str:
        """One line on what was read."""
        line = f"read {self.documents:,} texts, {self.text_bytes / 1e6:,.1f} MB, from {len(self._files):,} files"
        if self.rejects:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.rejects.most_common())
            line += f"; passed over {sum(self.rejects.values()):,} lines: {reasons}"
        return line

    def _texts(self, file: str) -> Iterator[str]:
        for batch in line_batches(read_content(file)):
            for line in batch.data.split(b"\n"):
                if line.strip():
                    try:
                        yield texts_of(line, [self._key])[0]
                    except RejectedLineError as error:
                        self.rejects[error.reason] += 1


class Sample(NamedTuple):
    """Texts of a run, and the control tokens that their records mark."""

    texts: list[str]
    control: set[str]


def sample_of(files: Sequence[str], keys: Sequence[str]) -> Sample:
    """Texts from the beginnings of up to ``SAMPLE_FILES`` files spread over all; none from pipes."""
    regular = [file for file in files if is_url(file) or stat.S_ISREG(os.stat(file).st_mode)]
    chosen = dict.fromkeys(regular[i * len(regular) // SAMPLE_FILES] for i in range(SAMPLE_FILES) if regular)
    sample = Sample([], set())
    for file in chosen:
        left = SAMPLE_BYTES // len(chosen)
        for record in _first_records(file, keys):
            if record.control:
                text = record.texts[list(keys).index(TEXT)]
                sample.control.update(text[start:end] for start, end in record.control)
            for text in record.texts:
                sample.texts.append(text[: min(SAMPLE_TEXT, left)])
                left -= len(sample.texts[-1].encode("utf-8"))
            if left <= 0:
                break
    return sample


def _first_records(file: str, keys: Sequence[str]) -> Iterator[Record]:
    seen = 0
    for batch in line_batches(read_content(file), SAMPLE_BYTES // 4):
        for line in batch.data.split(b"\n"):
            try:
                yield record_of(line, keys)
            except RejectedLineError:
                continue
        seen += len(batch.data)
        if seen > 4 * SAMPLE_BYTES:
            return
