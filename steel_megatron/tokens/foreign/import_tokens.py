"""Datasets that another program has tokenised, as ``.bin/.idx`` with a manifest."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from steel_megatron.config import ConfigError, DataError
from steel_megatron.jobs.durable import Outputs
from steel_megatron.jobs.hashes import hash_file
from steel_megatron.jobs.never_data import MANIFEST, REJECTS
from steel_megatron.jobs.progress import Progress
from steel_megatron.jobs.rejects import Reject
from steel_megatron.jobs.tasks import writing_dataset
from steel_megatron.tokenizer import Tokenizer
from steel_megatron.tokens.foreign.token_files import (
    Documents,
    Splitter,
    find_token_files,
    npy_documents,
    parquet_documents,
    stream_of,
)
from steel_megatron.tokens.indexed import IndexedWriter
from steel_megatron.tokens.manifest import Manifest, TokenizerRecord, output_records
from steel_megatron.tokens.merge.run import check_output
from steel_megatron.tokens.token_type import best_dtype

log = logging.getLogger(__name__)
WIDEST = 2**31  # ids are below it


@dataclass(frozen=True)
class Imported:
    """What :func:`import_tokens` wrote; ``manifest`` is None without a tokenizer, ``padding`` counts ids left out."""

    prefix: str
    dtype: str
    documents: int
    tokens: int
    padding: int
    rejects: dict[str, int]
    manifest: Manifest | None


def import_tokens(
    inputs: Iterable[str | os.PathLike[str]],
    output_prefix: str | os.PathLike[str],
    tokenizer: Tokenizer | None,
    *,
    begin_id: int | None = None,
    end_id: int | None = None,
    column: str | None = None,
    append_eod: bool = False,
    overwrite: bool = False,
) -> Imported:
    """Writes ``{output_prefix}.bin``, ``.idx`` and, with a tokenizer, ``.manifest.json``.

    A document with an id that the tokenizer does not have costs that document: it is counted, and named in
    ``{output_prefix}.rejects.jsonl``.

    Args:
        inputs: files of one kind (:mod:`steel_megatron.tokens.foreign.token_files`), or folders of them.
        tokenizer: that made the ids; None: they are only checked to be below 2^31, and there is no manifest.
        begin_id, end_id: the id that documents begin or end with, where they lie in one stream: packed files need one
            of the two, arrays may have one.
        column: of parquet files, where there are several of lists.
        append_eod: ends each document with the tokenizer's end-of-document id where it does not already.

    Raises:
        ConfigError: settings that do not go together.
        DataError: no input, a damaged file, or no document.
    """
    kind, files = find_token_files(inputs)
    marked = begin_id is not None or end_id is not None
    if begin_id is not None and end_id is not None:
        raise ConfigError("--begin-id and --end-id", rule="documents are told apart by one of the two")
    if kind == "litpkds" and not marked:
        raise ConfigError(
            "packed files without --begin-id or --end-id",
            rule="their documents lie in one stream, told apart by an id that each begins or ends with",
            fix="for TinyLlama's and lit-gpt's files, which begin documents with <s>: --begin-id 1",
        )
    if kind == "parquet" and marked:
        raise ConfigError("--begin-id or --end-id with parquet", rule="there each row is a document")
    if column is not None and kind != "parquet":
        raise ConfigError(f"--column {column} with {kind} files", rule="columns are parquet's")
    eod_id = tokenizer.eod_id if tokenizer is not None else None
    if append_eod and eod_id is None:
        raise ConfigError(
            "--append-eod without a tokenizer that has an end-of-document id", fix="give --tokenizer-model"
        )
    output = os.fspath(output_prefix)
    with writing_dataset(output):
        check_output(output, [], overwrite)
        dtype = best_dtype(tokenizer.vocab_size) if tokenizer is not None else "int32"
        splitter = Splitter(begin_id, end_id) if marked else None
        outputs = Outputs(output, (REJECTS, MANIFEST))
        with IndexedWriter(output, dtype) as writer, outputs.writing(REJECTS) as rejects:
            run = _Import(writer, rejects, tokenizer.vocab_size if tokenizer is not None else WIDEST)
            run.eod_id = eod_id if append_eod else None
            for file in files:
                run.read(file, _documents(run, file, kind, column, splitter))
            if splitter is not None:
                run.add(splitter.finish())
            if run.documents == 0:
                raise DataError(f"no document in {len(files):,} files ({dict(run.counts)})", rule="one or more")
            outputs.paths[MANIFEST].unlink(missing_ok=True)  # it tells of the dataset that is about to be replaced
        if not run.counts:
            outputs.discard(REJECTS)
        ends = append_eod or (eod_id is not None and end_id == eod_id)
        manifest = None if tokenizer is None else run.manifest(tokenizer, files, kind, ends)
        if manifest is not None:
            outputs.write_json(MANIFEST, asdict(manifest))
        outputs.publish()
        padding = 0 if splitter is None else splitter.padding
        return Imported(output, dtype, run.documents, run.tokens, padding, dict(run.counts), manifest)


def _documents(
    run: _Import, file: Path, kind: str, column: str | None, splitter: Splitter | None
) -> Iterator[Documents]:
    if splitter is not None:
        return (splitter.feed(ids) for ids in stream_of(file, kind))
    if kind == "parquet":
        return parquet_documents(file, column, run.reject_next)
    return npy_documents(file)


class _Import:
    """One dataset being written."""

    def __init__(self, writer: IndexedWriter, rejects: IO[bytes], vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self.eod_id: int | None = None
        self.documents = self.tokens = 0
        self.largest_id = -1
        self.counts: Counter[str] = Counter()  # of rejects
        self._writer = writer
        self._rejects = rejects
        self._file = ""
        self._number = 0  # documents of the file so far
        self._digest = hashlib.sha256()

    def read(self, file: Path, documents: Iterator[Documents]) -> None:
        """Adds the documents of one file."""
        self._file, self._number = os.fspath(file), 0
        with Progress(f"import {file.name}", file.stat().st_size) as progress:
            for ids, lengths in documents:
                self.add((ids, lengths))
                progress.add(ids.nbytes, len(lengths), len(ids))

    def add(self, documents: Documents) -> None:
        """Writes documents, except those with an id outside the vocabulary."""
        ids, lengths = documents
        outside = (ids < 0) | (ids >= self.vocabulary)
        if outside.any():
            bad = np.zeros(len(lengths), np.bool_)
            bad[np.repeat(np.arange(len(lengths)), lengths)[outside]] = True
            for place in np.flatnonzero(bad).tolist():
                self.reject(self._number + place + 1, "outside_vocabulary", f"an id outside 0 to {self.vocabulary - 1}")
            ids, kept = ids[np.repeat(~bad, lengths)], lengths[~bad]
        else:
            kept = lengths
        self._number += len(lengths)
        ids = ids.astype(self._writer.dtype, copy=False)
        if self.eod_id is not None:
            ids, kept = with_end(ids, kept, self.eod_id)
        if not len(kept):
            return
        ids = np.ascontiguousarray(ids)
        self._writer.add_many(ids, kept)
        self._digest.update(ids.data)
        self.documents += len(kept)
        self.tokens += len(ids)
        if len(ids):
            self.largest_id = max(self.largest_id, int(ids.max()))

    def reject(self, number: int, reason: str, detail: str) -> None:
        """Counts a document, and keeps its file and its number in it."""
        self.counts[reason] += 1
        self._rejects.write(Reject(number, reason, detail, "").json(self._file))

    def reject_next(self, reason: str, detail: str) -> None:
        """:meth:`reject` of the document whose turn it is."""
        self._number += 1
        self.reject(self._number, reason, detail)

    def manifest(self, tokenizer: Tokenizer, files: list[Path], kind: str, append_eod: bool) -> Manifest:
        return Manifest(
            key=kind,
            append_eod=append_eod,
            tokenizer=TokenizerRecord.of(tokenizer),
            dtype=self._writer.dtype.name,
            inputs=tuple(hash_file(file) for file in files),
            documents=self.documents,
            tokens=self.tokens,
            largest_id=self.largest_id,
            text_bytes=0,
            blank_lines=0,
            rejects=dict(sorted(self.counts.items())),
            outputs=output_records(self._writer.prefix, self._digest.hexdigest()),
        )


def with_end(
    ids: NDArray[np.integer], lengths: NDArray[np.int64], eod_id: int
) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """The documents, each that has an id and does not end with ``eod_id`` ended with it."""
    ends = np.cumsum(lengths)
    open_ended = lengths > 0
    open_ended[open_ended] = ids[ends[open_ended] - 1] != eod_id
    return np.insert(ids, ends[open_ended], eod_id), lengths + open_ended
