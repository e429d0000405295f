"""From JSON lines to a tokenizer's folder, in bounded memory.

The input is cut into parts, whose pre-tokens any number of workers count; then the counts of all parts are brought
together, range by range of hashes, and one process learns the merges. A run that is stopped goes on with the parts that
are done; the merges are learned anew, which takes minutes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from steel_megatron import __version__
from steel_megatron._bpe_train import Kept, section_sizes
from steel_megatron.config import DataError
from steel_megatron.jobs.durable import beside, write_json
from steel_megatron.jobs.engine import Engine
from steel_megatron.jobs.files import is_url
from steel_megatron.jobs.inputs import JSON_LINES, find_inputs
from steel_megatron.jobs.parts import PART_BYTES, InputFile, line_parts, whole_file
from steel_megatron.jobs.progress import Progress
from steel_megatron.jobs.tasks import clear, work_folder
from steel_megatron.jobs.writable import check_folder
from steel_megatron.tokenizer.byte_bpe import QWEN_PATTERN, QWEN_SPECIAL_TOKENS
from steel_megatron.tokenizer.hf_folder import write_folder
from steel_megatron.tokenizer.train import check_vocabulary, learn
from steel_megatron.tokens.vocabulary.count import (
    COUNTS,
    CountJob,
    MergeJob,
    TextPart,
    count_part,
    hash_ranges,
    merge_range,
)

log = logging.getLogger(__name__)

FORMAT = 1  # of the work folder
PLAN = "plan.json"  # in it: all that its content depends on
MEMORY = 8 * 10**9
PROCESS_BYTES = 180 << 20  # of a process without its tables: Python, numpy, tokenizers, a batch of lines
LEAST_MEMORY = 250 * 10**6  # of all processes, and for each that works beside the first
MOST_TABLE_BYTES = 512 << 20  # a larger one gains nothing
SECTION_BYTES, MOST_SECTIONS = 8 << 20, 4096  # of the input, for each section of its counts


@dataclass(frozen=True)
class Trained:
    """What a run read, and what it learned from.

    Args:
        kept: of the pre-tokens.
        suspects: input files that are not what their names say, and what they are.
    """

    files: int
    documents: int
    text_bytes: int
    rejects: dict[str, int]
    kept: Kept
    suspects: dict[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """One line on what was read."""
        line = f"read {self.documents:,} texts, {self.text_bytes / 1e6:,.1f} MB, from {self.files:,} files"
        if self.rejects:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in Counter(self.rejects).most_common())
            line += f"; passed over {sum(self.rejects.values()):,} lines: {reasons}"
        return line


def train_tokenizer(
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    vocab_size: int,
    *,
    key: str = "text",
    special_tokens: Sequence[str] = QWEN_SPECIAL_TOKENS,
    max_bytes: int | None = None,
    memory: int = MEMORY,
    workers: int = 1,
    engine: str = "local",
    part_bytes: int = PART_BYTES,
) -> Trained:
    """Writes the folder of a byte-level BPE, ``tokenizer.json`` and ``tokenizer_config.json``.

    Args:
        inputs: files, folders, glob patterns and URLs of JSON lines, plain or packed.
        vocab_size: ids in all, special tokens included. Fewer come out when the texts have no more pairs to merge.
        key: field that holds the text.
        max_bytes: UTF-8 bytes of text in all; a file gives up to its share by size on disk, from its beginning, and at
            least one text. None takes everything.
        memory: bytes that all processes may take together. What is learned depends on it only where the distinct
            pre-tokens have no room in it, which the log and :attr:`Trained.kept` say.
        workers: processes that count.
        engine: "local" or "ray".
        part_bytes: about how much of a plain file is counted at once; nothing depends on it.

    Raises:
        ConfigError: settings that cannot work.
        DataError: no input, damaged input, or no text.
    """
    check_vocabulary(vocab_size, special_tokens)
    machine = Engine(engine, workers)
    target = Path(output)
    found = find_inputs(inputs, JSON_LINES, output=target)
    suspects = found.tell()
    check_folder(target)
    files = [InputFile.of(file) for file in found.files]
    work = beside(target, ".counts.partial")
    with work_folder(work, target) as folder:
        parts = _parts(files, max_bytes, part_bytes)
        _go_on_with(folder, parts, key)
        at_once = min(workers, max(1, (memory - PROCESS_BYTES) // LEAST_MEMORY))
        table = min(_table_bytes(memory, at_once), MOST_TABLE_BYTES)
        sections = _sections(sum(file.bytes for file in files))
        count = CountJob(str(folder.absolute()), key, sections, table)
        counts = machine.run("count", count_part, count, parts, lambda part: count.task(part).done(), at_once)
        paths = tuple(str(count.task(part).file(COUNTS)) for part in parts)
        ranges = hash_ranges(section_sizes(list(paths)), table)
        merge = MergeJob(count.folder, paths)
        machine.run("merge counts", merge_range, merge, ranges, lambda of: merge.task(of).done(), at_once)
        merged = [merge.task(of).file(COUNTS) for of in ranges]
        with Progress("learn merges", vocab_size) as progress:
            told = 0

            def tell(tokens: int) -> None:
                nonlocal told
                progress.add(tokens - told)
                told = tokens

            backend, kept = learn(merged, vocab_size, special_tokens, memory - PROCESS_BYTES, tell)
        _tell(kept, memory)
        write_folder(backend, special_tokens, target)
        shutil.rmtree(folder)
    rejects: Counter[str] = Counter()
    for done in counts:
        rejects.update(done["rejects"])
    documents, text_bytes = (sum(done[name] for done in counts) for name in ("documents", "text_bytes"))
    return Trained(len(files), documents, text_bytes, dict(+rejects), kept, suspects)


def _parts(files: Sequence[InputFile], max_bytes: int | None, part_bytes: int) -> list[TextPart]:
    """Plain files are cut, unless only their beginnings are wanted."""
    total = max(sum(file.bytes for file in files), 1)
    parts: list[TextPart] = []
    for file in files:
        whole = whole_file(file)
        if is_url(file.path):
            whole = replace(whole, packed=True)  # read in one go
        if max_bytes is None:
            parts += [TextPart(**vars(part)) for part in line_parts(whole, part_bytes)]
        else:
            share = max_bytes * file.bytes / total
            parts.append(TextPart(**{**vars(whole), "size": min(file.bytes, int(share))}, share=share))
    return [replace(part, number=number) for number, part in enumerate(parts)]


def _table_bytes(memory: int, at_once: int) -> int:
    """Bytes for the table of each process that works: one alone is this one."""
    return memory - PROCESS_BYTES if at_once == 1 else (memory - PROCESS_BYTES) // at_once - PROCESS_BYTES


def _sections(input_bytes: int) -> int:
    """A power of two, by the size of the input alone."""
    sections = 1
    while sections < MOST_SECTIONS and sections * SECTION_BYTES < input_bytes:
        sections *= 2
    return sections


def _go_on_with(folder: Path, parts: Sequence[TextPart], key: str) -> None:
    """Keeps what a stopped run has counted of the same, and nothing else."""
    made_of: dict[str, Any] = {
        "format": FORMAT,
        "code_version": __version__,
        "pattern": QWEN_PATTERN,
        "key": key,
        "parts": [asdict(part) for part in parts],
    }
    path, plan = folder / PLAN, json.loads(json.dumps(made_of))
    try:
        before = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        before = None
    if before != plan:
        clear(folder)
        write_json(path, plan, indent=None)


def _tell(kept: Kept, memory: int) -> None:
    log.info("pre-tokens: %s distinct, %.1f MB", f"{kept.counted_pretokens:,}", kept.counted_bytes / 1e6)
    if kept.threshold > 1:
        log.warning(
            "--memory %.1f GB has room for %s of %s distinct pre-tokens: of those that occur less than %s times some "
            "are drawn, and stand for the others",
            memory / 1e9,
            f"{kept.pretokens:,}",
            f"{kept.counted_pretokens:,}",
            f"{kept.threshold:,}",
        )


def refuse_trained(output: Path) -> None:
    """
    Raises:
        DataError: a tokenizer is there.
    """
    if (output / "tokenizer.json").exists():
        raise DataError(
            f"{output / 'tokenizer.json'} is there already",
            rule="a tokenizer is not replaced unasked: data made with it would lose its meaning",
            fix="use another --output, or --overwrite",
        )
