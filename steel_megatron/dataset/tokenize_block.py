"""The part of tokenising that runs in worker processes: a block of lines in, arrays of ids out.

Legend: T tokens of the block, one document after the other; B documents of the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steel_megatron.dataset.inputs import Block
from steel_megatron.dataset.records import NOT_ENCODABLE, RejectedLineError, texts_of
from steel_megatron.dataset.rejects import Reject
from steel_megatron.tokenizer import EncodedBatch, Tokenizer


@dataclass(frozen=True)
class TokenizeJob:
    """What every worker needs to know. ``dtype`` is the dataset's ("uint16", "int32")."""

    tokenizer: Tokenizer
    keys: tuple[str, ...]
    eod_id: int | None  # appended to each document; None: nothing is
    dtype: str


class KeyTokens(NamedTuple):
    """The documents of one key."""

    ids_T: NDArray[Any]
    lengths_B: NDArray[np.int64]
    text_bytes: int


@dataclass(frozen=True)
class TokenizedBlock:
    """The outcome of one block; lines = documents + rejects + blank lines."""

    path: str
    bytes_read: int
    keys: tuple[KeyTokens, ...]
    rejects: tuple[Reject, ...]
    blank_lines: int


class _Line(NamedTuple):
    number: int
    data: bytes
    texts: list[str]


def tokenize_block(job: TokenizeJob, block: Block) -> TokenizedBlock:
    """Parses and encodes the lines of a block. A line that gives no document is a reject."""
    lines: list[_Line] = []
    rejects: list[Reject] = []
    blank = 0
    for number, data in enumerate(_lines(block.data), start=block.first_line):
        if not data.strip():
            blank += 1
            continue
        try:
            lines.append(_Line(number, data, texts_of(data, job.keys)))
        except RejectedLineError as error:
            rejects.append(Reject.of(number, error.reason, error.detail, data))
    try:
        encoded = _encode(job, lines)
    except BaseException as error:  # a panic in a compiled tokenizer is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        lines, refused = _encodable_lines(job, lines)
        rejects = sorted([*rejects, *refused], key=lambda reject: reject.line)
        encoded = _encode(job, lines)
    keys = tuple(
        _key_tokens(job, batch, sum(len(line.texts[i].encode("utf-8")) for line in lines))
        for i, batch in enumerate(encoded)
    )
    return TokenizedBlock(block.path, block.bytes_read, keys, tuple(rejects), blank)


def _lines(data: bytes) -> list[bytes]:
    """The lines, ended by line feeds and nothing else."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _encode(job: TokenizeJob, lines: Sequence[_Line]) -> list[EncodedBatch]:
    return [job.tokenizer.encode_batch([line.texts[i] for line in lines]) for i in range(len(job.keys))]


def _encodable_lines(job: TokenizeJob, lines: Sequence[_Line]) -> tuple[list[_Line], list[Reject]]:
    """The lines that the tokenizer takes one by one, and those it refuses."""
    taken, refused = [], []
    for line in lines:
        try:
            _encode(job, [line])
            taken.append(line)
        except BaseException as error:  # a panic in a compiled tokenizer is no Exception
            if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
                raise
            refused.append(Reject.of(line.number, NOT_ENCODABLE, str(error).replace("\n", " "), line.data))
    return taken, refused


def _key_tokens(job: TokenizeJob, batch: EncodedBatch, text_bytes: int) -> KeyTokens:
    """Ids in the dataset's type, each document that has any followed by the end-of-document id."""
    ids_T, lengths_B = batch
    if job.eod_id is not None:
        # As in Megatron, a document without a token stays empty.
        ends = np.cumsum(lengths_B)[lengths_B > 0]
        ids_T = np.insert(ids_T, ends, job.eod_id)
        lengths_B = lengths_B + (lengths_B > 0)
    return KeyTokens(ids_T.astype(job.dtype), lengths_B, text_bytes)
