"""From JSON lines to ``.bin/.idx`` datasets, rejects and manifests.

Blocks of lines go to worker processes and come back in order, so the output does not depend on the number of workers.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.ordered_pool import ordered_map
from steel_megatron.dataset.indexed import best_dtype
from steel_megatron.dataset.inputs import BLOCK_BYTES, InputFile, find_inputs
from steel_megatron.dataset.manifest import Manifest
from steel_megatron.dataset.progress import FileProgress
from steel_megatron.dataset.rejects import RejectLog, rejects_path
from steel_megatron.dataset.tokenize_block import TokenizedBlock, TokenizeJob, tokenize_block
from steel_megatron.dataset.tokenize_output import DatasetOutput, dataset_prefix, finished_before
from steel_megatron.tokenizer import Tokenizer

log = logging.getLogger(__name__)


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
    workers: int = 1,
    overwrite: bool = False,
    log_interval: int = 10_000,
    block_bytes: int = BLOCK_BYTES,
) -> Tokenized:
    """Writes ``{output_prefix}_{key}_document.{bin,idx,manifest.json}`` for each key.

    Lines that give no document are kept in ``{output_prefix}.rejects.jsonl``, each with its file, number and reason.

    Args:
        inputs: files, folders and glob patterns of JSON lines, plain, ``.gz`` or ``.zst``.
        keys: fields to tokenise. A line that lacks one gives no document for any, so the datasets stay parallel.
        append_eod: each document that has a token ends with the tokenizer's ``eod_id``.
        workers: processes that encode; 1 works in this process.
        overwrite: replaces what is there. Without it, a whole dataset from the same inputs, tokenizer and settings is
            left as it is, and anything else there is an error.
        log_interval: documents between log lines where there is no terminal.
        block_bytes: text handed to a worker at once.

    Raises:
        ConfigError: settings that cannot work.
        DataError: no input, damaged input, other data there, a worker that died, or no line that gives a document.
    """
    keys = tuple(keys)
    if not keys or len(set(keys)) != len(keys):
        raise ConfigError(f"--json-keys {' '.join(keys)}", rule="one or more keys, each once")
    if workers < 1:
        raise ConfigError(f"--workers {workers}", rule="it is 1 or more")
    eod_id = tokenizer.eod_id if append_eod else None
    if append_eod and eod_id is None:
        raise ConfigError(
            f"--append-eod with a {tokenizer.type} that has no end-of-document id",
            rule="the vocabulary has <|endoftext|>, or its settings name an eos_token",
        )
    files = find_inputs(inputs)
    job = TokenizeJob(tokenizer, keys, eod_id, best_dtype(tokenizer.vocab_size))
    prefixes = {key: dataset_prefix(output_prefix, key) for key in keys}
    Path(output_prefix).absolute().parent.mkdir(parents=True, exist_ok=True)
    before = finished_before(prefixes, files, job, overwrite)
    if before is not None:
        path = rejects_path(output_prefix)
        return Tokenized(before, path if path.is_file() else None, done_before=True)

    threads_before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a worker is one core; its process inherits this
    opened = [InputFile(file, block_bytes) for file in files]
    rejects = RejectLog(output_prefix)
    outputs: list[DatasetOutput] = []
    progress = FileProgress("tokenize", sum(file.stat().st_size for file in files), log_interval)
    try:
        outputs += [DatasetOutput(prefix, key, job.dtype) for key, prefix in prefixes.items()]
        blocks = (block for file in opened for block in file.blocks())
        blank_lines = 0
        for result in ordered_map(tokenize_block, job, blocks, workers):
            _take(result, outputs, rejects, progress)
            blank_lines += result.blank_lines
        rejects.finish()
        if progress.documents == 0:
            raise DataError(
                f"{sum(rejects.counts.values()):,} lines rejected ({_counts(rejects)}), no document",
                rule="at least one line gives a document",
                fix=f"see {rejects.path}, and check --json-keys" if rejects.counts else "check --input",
            )
        records = [file.record for file in opened]
        manifests = {output.prefix: output.finish(job, records, rejects.counts, blank_lines) for output in outputs}
    finally:
        progress.close()
        rejects.abort()
        for output in outputs:
            output.abort()
        if threads_before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = threads_before
    log.info("tokenize: %s", progress.summary())
    return Tokenized(manifests, rejects.path if rejects.counts else None)


def _take(result: TokenizedBlock, outputs: list[DatasetOutput], rejects: RejectLog, progress: FileProgress) -> None:
    """Writes the outcome of one block, whose turn it is."""
    for output, tokens in zip(outputs, result.keys, strict=True):
        output.add(tokens)
    for reject in result.rejects:
        rejects.add(result.path, reject)
    progress.add(
        result.bytes_read,
        documents=len(result.keys[0].lengths_B),
        tokens=sum(len(tokens.ids_T) for tokens in result.keys),
        text_bytes=sum(tokens.text_bytes for tokens in result.keys),
    )


def _counts(rejects: RejectLog) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in rejects.counts.most_common()) or "none"
