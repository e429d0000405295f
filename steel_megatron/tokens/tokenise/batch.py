"""A batch of lines in, arrays of ids out.

Legend: T tokens of the batch, one document after the other; B documents of the batch.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steel_megatron._jsonl import extract
from steel_megatron.jobs.rejects import Reject
from steel_megatron.tokenizer import EncodedBatch, Tokenizer
from steel_megatron.tokenizer.encoders import Encoder
from steel_megatron.tokenizer.steel_encoder import SteelEncoder
from steel_megatron.tokens.token_type import shown
from steel_megatron.tokens.tokenise.lines import LineBatch
from steel_megatron.tokens.tokenise.records import (
    CONTROL,
    NOT_ENCODABLE,
    TEXT,
    TOO_LONG,
    UNKNOWN_CONTROL,
    Record,
    RejectedLineError,
    record_of,
)


@dataclass(frozen=True)
class EncodeJob:
    """How lines become ids. ``dtype`` is the dataset's ("uint16", "uint24", "int32")."""

    encoder: Encoder
    reference: bytes  # the tokenizer, pickled: loaded only for texts that the encoder fails on
    keys: tuple[str, ...]
    eod_id: int | None  # appended to each document; None: nothing is
    dtype: str
    control_ids: Mapping[str, int]


class KeyTokens(NamedTuple):
    """The documents of one key."""

    ids_T: NDArray[Any]
    lengths_B: NDArray[np.int64]
    text_bytes: int


class TokenizedBatch(NamedTuple):
    """The outcome of a batch; rejects are numbered from its first line."""

    keys: tuple[KeyTokens, ...]
    rejects: list[Reject]
    blank_lines: int
    lines: int


class _Documents(NamedTuple):
    texts: list[list[str]]  # by key
    control: dict[int, list[tuple[int, int, int]]]  # by document: start, end, id
    places: NDArray[np.int64]  # of the lines: number, first byte, end

    def only(self, kept: Sequence[int]) -> _Documents:
        """Without the others."""
        control = {new: self.control[old] for new, old in enumerate(kept) if old in self.control}
        return _Documents([[texts[i] for i in kept] for texts in self.texts], control, self.places[list(kept)])


def tokenize_batch(job: EncodeJob, batch: LineBatch) -> TokenizedBatch:
    """Parses and encodes lines. One that gives no document is a reject."""
    if isinstance(job.encoder, SteelEncoder) and not batch.cut_line:
        done = _straight(job, job.encoder, batch.data)
        if done is not None:
            return done
    documents, rejects, blank, lines = _parse(job, batch.data)
    if batch.cut_line:
        lines += 1
        rejects.append(Reject.of(lines, TOO_LONG, "only its beginning was read", batch.cut_line))
    try:
        encoded = _encode(job, job.encoder, documents)
    except BaseException as error:  # a panic in a compiled tokenizer is no Exception
        _reraise_if_final(error)
        documents, encoded, refused = _one_by_one(job, documents, batch.data)
        rejects = sorted([*rejects, *refused], key=lambda reject: reject.line)
    keys = tuple(
        _key_tokens(job, ids, sum(map(_utf8_bytes, texts))) for ids, texts in zip(encoded, documents.texts, strict=True)
    )
    return TokenizedBatch(keys, rejects, blank, lines)


def _straight(job: EncodeJob, encoder: SteelEncoder, data: bytes) -> TokenizedBatch | None:
    """Lines that are all plain records, from bytes to ids in one step; None when one is not, or a text fails."""
    try:
        found = encoder.encode_lines(data, job.keys, CONTROL, job.eod_id)
    except Exception:  # one by one, what fails is found and counted
        return None
    if found is None:
        return None
    keys = tuple(KeyTokens(key.ids_T.astype(shown(job.dtype), copy=False), *key[1:]) for key in found.keys)
    return TokenizedBatch(keys, [], found.blank_lines, found.lines)


def _parse(job: EncodeJob, data: bytes) -> tuple[_Documents, list[Reject], int, int]:
    """Documents, rejects, blank lines and lines. The lines that the C++ parser is not sure of go through Python's."""
    texts, odd, places, blank, lines = extract(data, list(job.keys), CONTROL)
    documents = _Documents(texts, {}, places)
    rejects: list[Reject] = []
    dropped = set()
    for i in odd:
        number, start, stop = places[i].tolist()
        try:
            record = record_of(data[start:stop], job.keys)
            if record.control:
                documents.control[i] = _control_ids(job, record)
            for key_texts, text in zip(texts, record.texts, strict=True):
                key_texts[i] = text
        except RejectedLineError as error:
            dropped.add(i)
            rejects.append(Reject.of(number, error.reason, error.detail, data[start:stop]))
    if dropped:
        documents = documents.only([i for i in range(len(places)) if i not in dropped])
    return documents, rejects, blank, lines


def _control_ids(job: EncodeJob, record: Record) -> list[tuple[int, int, int]]:
    text = record.texts[job.keys.index(TEXT)]
    marks = []
    for start, end in record.control:
        id_ = job.control_ids.get(text[start:end])
        if id_ is None:
            raise RejectedLineError(UNKNOWN_CONTROL, f"{text[start:end][:60]!r}")
        marks.append((start, end, id_))
    return marks


def _encode(job: EncodeJob, encoder: Encoder, documents: _Documents) -> list[EncodedBatch]:
    return [
        _encode_with_control(encoder, texts, documents.control)
        if documents.control and key == TEXT
        else encoder.encode_batch(texts)
        for key, texts in zip(job.keys, documents.texts, strict=True)
    ]


def _encode_with_control(
    encoder: Encoder, texts: Sequence[str], control: Mapping[int, Sequence[tuple[int, int, int]]]
) -> EncodedBatch:
    """The text between control tokens is encoded as plain text, piece by piece; their ids are put between."""
    pieces: list[str] = []
    first_pieces, after, ids = [], [], []
    for i, text in enumerate(texts):
        first_pieces.append(len(pieces))
        at = 0
        for start, end, id_ in control.get(i, ()):
            after.append(len(pieces))
            ids.append(id_)
            pieces.append(text[at:start])
            at = end
        pieces.append(text[at:])
    ids_T, lengths = encoder.encode_batch(pieces)
    ids_T = np.insert(ids_T, np.cumsum(lengths)[after], ids)
    lengths = lengths.copy()
    lengths[after] += 1
    return EncodedBatch(ids_T, np.add.reduceat(lengths, first_pieces))


def _one_by_one(
    job: EncodeJob, documents: _Documents, data: bytes
) -> tuple[_Documents, list[EncodedBatch], list[Reject]]:
    """After a failure: each document by the encoder or else by the tokenizer itself; what both refuse is a reject."""
    tokenizer: Tokenizer = pickle.loads(job.reference)
    kept, batches, refused = [], [], []
    for i, (number, start, stop) in enumerate(documents.places.tolist()):
        document = documents.only([i])
        for encoder in (job.encoder, tokenizer):
            try:
                batches.append(_encode(job, encoder, document))
                kept.append(i)
                break
            except BaseException as error:  # a panic in a compiled tokenizer is no Exception
                _reraise_if_final(error)
                reason = str(error).replace("\n", " ")
        else:
            refused.append(Reject.of(number, NOT_ENCODABLE, reason, data[start:stop]))
    joined = []
    for key in range(len(job.keys)):
        ids = [batch[key].ids_T for batch in batches] or [np.empty(0, np.int32)]
        lengths = [batch[key].lengths_B for batch in batches] or [np.empty(0, np.int64)]
        joined.append(EncodedBatch(np.concatenate(ids), np.concatenate(lengths)))
    return documents.only(kept), joined, refused


def _reraise_if_final(error: BaseException) -> None:
    if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
        raise error


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8"))


def _key_tokens(job: EncodeJob, batch: EncodedBatch, text_bytes: int) -> KeyTokens:
    """Ids in the dataset's type, each document that has any followed by the end-of-document id."""
    ids_T, lengths_B = batch
    if job.eod_id is not None:
        # As in Megatron, a document without a token stays empty.
        ends = np.cumsum(lengths_B)[lengths_B > 0]
        ids_T = np.insert(ids_T, ends, job.eod_id)
        lengths_B = lengths_B + (lengths_B > 0)
    return KeyTokens(ids_T.astype(shown(job.dtype), copy=False), lengths_B, text_bytes)
