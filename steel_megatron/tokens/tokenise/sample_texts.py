"""Texts from the beginnings of a run's inputs, to try encoders on."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from steel_megatron.config import DataError
from steel_megatron.jobs.files import is_url
from steel_megatron.jobs.unpack import read_content
from steel_megatron.tokens.tokenise.lines import line_batches
from steel_megatron.tokens.tokenise.records import TEXT, Record, RejectedLineError, record_of

SAMPLE_FILES = 8
SAMPLE_BYTES = 1 << 20  # of all texts of a sample together
SAMPLE_TEXT = 1 << 15  # characters of one text


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


def _whole_part(file: str) -> Iterator[bytes]:
    """The content up to damage, which is told when all of the file is read."""
    with suppress(DataError):
        yield from read_content(file)


def _first_records(file: str, keys: Sequence[str]) -> Iterator[Record]:
    seen = 0
    for batch in line_batches(_whole_part(file), SAMPLE_BYTES // 4):
        for line in batch.data.split(b"\n"):
            try:
                yield record_of(line, keys)
            except RejectedLineError:
                continue
        seen += len(batch.data)
        if seen > 4 * SAMPLE_BYTES:
            return
