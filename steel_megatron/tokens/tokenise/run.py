"""From JSON lines to ``.bin/.idx`` datasets, rejects and manifests.

Blocks of lines go to worker processes and come back in order, so the output does not depend on the number of workers.
Now and then the place in the input is written down, and a run that is stopped after that goes on from there.
"""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steel_megatron.config import ConfigError, DataError
from steel_megatron.jobs.files import state_of
from steel_megatron.jobs.inputs import JSON_LINES, find_inputs
from steel_megatron.jobs.pool import ordered_map
from steel_megatron.jobs.progress import FileProgress
from steel_megatron.jobs.rejects import RejectLog, rejects_path
from steel_megatron.jobs.tasks import writing_dataset
from steel_megatron.tokenizer import Tokenizer
from steel_megatron.tokenizer.encoders import AUTO, ENCODERS, ONE_THREAD, ChosenEncoder, Encoder, choose_encoder
from steel_megatron.tokens.indexed import best_dtype
from steel_megatron.tokens.manifest import Manifest
from steel_megatron.tokens.tokenise.block import BlockJob, TokenizedBlock, tokenize_block
from steel_megatron.tokens.tokenise.journal import Journal, Position, run_signature
from steel_megatron.tokens.tokenise.output import DatasetOutput, TokenizeJob, dataset_prefix, finished_before
from steel_megatron.tokens.tokenise.stream import InputStream, sample_of

log = logging.getLogger(__name__)

BLOCK_BYTES = 2 << 20  # text handed to a worker at once
JOURNAL_BYTES = 256 << 20  # input between two notes of the place


@dataclass(frozen=True)
class Tokenized:
    """What a call of :func:`tokenize` left: a manifest per key; ``done_before`` when there was nothing to do."""

    manifests: dict[str, Manifest]  # by prefix of the dataset
    rejects_path: Path | None
    done_before: bool = False

    @property
    def rejected(self) -> int:
        """Lines rejected; a rejected line counts once whatever the number of keys."""
        return sum(next(iter(self.manifests.values())).rejects.values())


def tokenize(
    inputs: Iterable[str | os.PathLike[str]],
    output_prefix: str | os.PathLike[str],
    tokenizer: Tokenizer,
    *,
    keys: Sequence[str] = ("text",),
    append_eod: bool = False,
    encoder: str = AUTO,
    shuffle_seed: int | None = None,
    workers: int = 1,
    overwrite: bool = False,
    log_interval: int = 10_000,
    block_bytes: int = BLOCK_BYTES,
    journal_bytes: int = JOURNAL_BYTES,
) -> Tokenized:
    """Writes ``{output_prefix}_{key}_document.{bin,idx,manifest.json}`` for each key.

    Lines that give no document are kept in ``{output_prefix}.rejects.jsonl``, each with its file, number and reason.

    Args:
        inputs: files, folders, glob patterns and URLs of JSON lines, plain or packed.
        keys: fields to tokenise. A line that lacks one gives no document for any, so the datasets stay parallel.
        append_eod: each document that has a token ends with the tokenizer's ``eod_id``.
        encoder: one of ``steel_megatron.tokenizer.encoders.ENCODERS``; whichever it is, the ids are the tokenizer's.
        shuffle_seed: writes the documents in a random order that depends on the seed alone; None keeps the input's.
        workers: processes that encode; 1 works in this process.
        overwrite: replaces what is there. Without it, a whole dataset from the same inputs, tokenizer and settings is
            left as it is, and anything else there is an error.
        log_interval: documents between log lines where there is no terminal.
        block_bytes: text handed to a worker at once.
        journal_bytes: input between two notes of the place from which a stopped run goes on.

    Raises:
        ConfigError: settings that cannot work.
        DataError: no input, damaged input, other data there, a worker that died, or no line that gives a document.
    """
    keys = tuple(keys)
    if not keys or len(set(keys)) != len(keys):
        raise ConfigError(f"--json-keys {' '.join(keys)}", rule="one or more keys, each once")
    if workers < 1:
        raise ConfigError(f"--workers {workers}", rule="it is 1 or more")
    if encoder not in ENCODERS:
        raise ConfigError(f"--encoder {encoder}", rule=f"encoders are {', '.join(ENCODERS)}")
    eod_id = tokenizer.eod_id if append_eod else None
    if append_eod and eod_id is None:
        raise ConfigError(
            f"--append-eod with a {tokenizer.type} that has no end-of-document id",
            rule="the vocabulary has <|endoftext|>, or its settings name an eos_token",
        )
    found = find_inputs(inputs, JSON_LINES)
    files = [file.location for file in found.files]
    job = TokenizeJob(tokenizer, keys, eod_id, best_dtype(tokenizer.vocab_size), shuffle_seed)
    prefixes = {key: dataset_prefix(output_prefix, key) for key in keys}
    with writing_dataset(output_prefix):
        before = finished_before(prefixes, files, job, overwrite)
        if before is not None:
            path = rejects_path(output_prefix)
            return Tokenized(before, path if path.is_file() else None, done_before=True)
        job = replace(job, suspects=found.tell())
        with _environment(ONE_THREAD), tempfile.TemporaryDirectory(prefix="steel_tokenize_") as folder:
            chosen = _choose_encoder(job, encoder, files, Path(folder))
            job = replace(job, encoder=chosen.record)
            run = _Run(output_prefix, files, job, block_bytes, journal_bytes, log_interval)
            try:
                return run.work(_block_job(job, chosen.encoder), workers)
            finally:
                run.close()


def _choose_encoder(job: TokenizeJob, encoder: str, files: Sequence[str], folder: Path) -> ChosenEncoder:
    """The encoder of a run, proven on texts of its input.

    Raises:
        DataError: records mark control tokens that the tokenizer does not have.
    """
    sample = sample_of(files, job.keys)
    special = job.tokenizer.special_tokens
    unknown = sorted(sample.control - set(special))
    if unknown:
        raise DataError(
            f"records of the input mark {', '.join(map(repr, unknown[:8]))} as control tokens",
            rule=f"control tokens of the vocabulary are {', '.join(special) or 'none'}",
            fix="use the tokenizer that the template was made for",
        )
    chosen = choose_encoder(job.tokenizer, encoder, sample.texts, folder)
    log.info("tokenize: %s encodes: %s", chosen.record["name"], chosen.record["why"])
    return chosen


class _Run:
    """The state of a run in the main process."""

    def __init__(
        self,
        output_prefix: str | os.PathLike[str],
        files: Sequence[str],
        job: TokenizeJob,
        block_bytes: int,
        journal_bytes: int,
        log_interval: int,
    ) -> None:
        self._journal = Journal(output_prefix, run_signature(files, job, block_bytes))
        self._journal_bytes = journal_bytes
        found = self._journal.read()
        position, states = found if found is not None else (Position(), {})
        self._can_go_on = found is not None
        self._stream = InputStream(files, block_bytes, position)
        self._progress = FileProgress("tokenize", sum(state_of(file).bytes for file in files), log_interval)
        self._rejects = RejectLog(output_prefix, states.get("rejects"))
        self._outputs: list[DatasetOutput] = []
        self._unnoted = 0
        job = replace(job, expected_bytes=self._stream.expected_bytes)
        try:
            for key in job.keys:
                prefix = dataset_prefix(output_prefix, key)
                self._outputs.append(DatasetOutput(prefix, key, job, states.get(key)))
        except BaseException:
            self.close()
            raise
        if found is not None:
            done = sum(state_of(file).bytes for file in files[: position.file])
            log.info("tokenize: goes on behind %s documents of a run before", f"{self._outputs[0].documents:,}")
            self._progress.add(done, documents=self._outputs[0].documents)

    def work(self, job: BlockJob, workers: int) -> Tokenized:
        """Does all that is left to do."""
        for result in ordered_map(tokenize_block, job, self._stream.blocks(), workers):
            self._take(result)
            self._unnoted += result.bytes_read
            if self._unnoted >= self._journal_bytes:
                self._note()
        for output in self._outputs:
            output.write_shuffled(lambda size: None, self._note)
        self._rejects.finish()
        if self._outputs[0].documents == 0:
            self._can_go_on = False
            counts = ", ".join(f"{reason} {count:,}" for reason, count in self._rejects.counts.most_common()) or "none"
            raise DataError(
                f"{sum(self._rejects.counts.values()):,} lines rejected ({counts}), no document",
                rule="at least one line gives a document",
                fix=f"see {self._rejects.path}, and check --json-keys" if self._rejects.counts else "check --input",
            )
        records, blank_lines = self._stream.finish(), self._stream.position().blank_lines
        manifests = {
            output.prefix: output.finish(records, self._rejects.counts, blank_lines) for output in self._outputs
        }
        self._can_go_on = False
        self._progress.close()
        log.info("tokenize: %s", self._progress.summary())
        return Tokenized(manifests, self._rejects.path if self._rejects.counts else None)

    def close(self) -> None:
        """Leaves what a later run can go on from, and nothing else."""
        self._progress.close()
        self._stream.close()
        parts: list[RejectLog | DatasetOutput] = [self._rejects, *self._outputs]
        for part in parts:
            if self._can_go_on:
                part.leave()
            else:
                part.abort()
        if not self._can_go_on:
            self._journal.remove()

    def _take(self, result: TokenizedBlock) -> None:
        """Writes the outcome of one block, whose turn it is."""
        lines_before = self._stream.taken(result.lines, result.blank_lines)
        documents = len(result.keys[0].lengths_B)
        if documents + len(result.rejects) + result.blank_lines != result.lines:
            raise DataError(
                f"{result.path}, from line {lines_before + 1:,} on: {result.lines:,} lines gave "
                f"{documents:,} documents, {len(result.rejects):,} rejects and {result.blank_lines:,} blank lines",
                rule="every line becomes one of these",
            )
        for output, tokens in zip(self._outputs, result.keys, strict=True):
            output.add(tokens)
        for reject in result.rejects:
            self._rejects.add(result.path, replace(reject, line=reject.line + lines_before))
        self._progress.add(
            result.bytes_read,
            documents=documents,
            tokens=sum(len(tokens.ids_T) for tokens in result.keys),
            text_bytes=sum(tokens.text_bytes for tokens in result.keys),
        )

    def _note(self) -> None:
        """Writes the place down, when all that comes before it is on the disk."""
        states: dict[str, Any] = {output.key: output.sync() for output in self._outputs}
        self._journal.write(self._stream.position(), {**states, "rejects": self._rejects.sync()})
        self._unnoted = 0
        self._can_go_on = True


def _block_job(job: TokenizeJob, encoder: Encoder) -> BlockJob:
    reference = pickle.dumps(job.tokenizer)
    return BlockJob(encoder, reference, job.keys, job.eod_id, job.dtype, dict(job.tokenizer.special_tokens))


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Variables that this process and those it starts see for a while."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
