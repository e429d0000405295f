"""The part of cleaning that runs in worker processes: a stretch of a file in, files of what is kept and dropped out."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import xxhash

from steel_megatron.config import DataError
from steel_megatron.corpus.cleaning.document import Document
from steel_megatron.corpus.cleaning.operation import Filter, Judgement, Mapper, Operation, RecordFilter
from steel_megatron.corpus.cleaning.recipe import Step, build_steps
from steel_megatron.corpus.cleaning.tally import Tally
from steel_megatron.corpus.corpus import RejectedRecordError
from steel_megatron.corpus.readers.json_lines import split_lines
from steel_megatron.corpus.readers.json_value import parse_object
from steel_megatron.corpus.readers.row import MAX_RECORD_BYTES
from steel_megatron.jobs.files import BYTE_ORDER_MARK
from steel_megatron.jobs.hashes import hash_file
from steel_megatron.jobs.packed import open_packed
from steel_megatron.jobs.parts import DAMAGE, SAME_SINCE, FramesPart, Part, key_of
from steel_megatron.jobs.progress import add_to
from steel_megatron.jobs.rejects import CONTENT_CHARACTERS, reject_line
from steel_megatron.jobs.tasks import Task

FORMAT = 1  # of what is written; another number makes parts of an earlier version be done again
DOCUMENTS, DROPPED = ".documents", ".drops"
SHA256 = "sha256"  # beside the tally, by ending
READ, WRITE = "read", "write"  # stages before the first and behind the last operation

CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class CleanJob:
    """What every worker needs to know."""

    steps: tuple[Step, ...]
    text_key: str
    packed: bool
    folder: str  # of finished parts
    tokenizer: str = ""  # names the counting function
    count_tokens: CountTokens | None = None
    counter: Any = None  # shared count of bytes read
    in_shards: bool = False  # so what is written of a part is hashed while it is in memory

    def task(self, part: Part) -> Task:
        """The files of a part, named after all that their content depends on."""
        facts = {"path": part.path, "version": part.file.version, "start": part.start, "size": part.size}
        facts["stop"] = None if part.packed else part.stop
        made_of = [FORMAT, SAME_SINCE, self.steps, self.text_key, self.packed, self.tokenizer, facts]
        return Task(Path(self.folder) / key_of(made_of), (DOCUMENTS, DROPPED))


@functools.lru_cache(maxsize=1)
def _operations(steps_json: str) -> list[Operation]:
    """Built once per process, since some load models."""
    return build_steps([(name, parameters) for name, parameters in json.loads(steps_json)])


def clean_part(job: CleanJob, part: Part) -> dict[str, Any]:
    """Writes what is kept and what is dropped of a part; its tally and their hashes as counts.

    Raises:
        DataError: the file cannot be read to its end.
    """
    cleaner = Cleaner(_operations(json.dumps(job.steps)), job.text_key, job.count_tokens)
    content, at = part.content(lambda data: add_to(job.counter, len(data))), part.start
    where: dict[str, Any] = {"file": part.path}
    if isinstance(part, FramesPart):  # the byte is counted from the first line that begins in the frame
        where, at = {**where, "frame": part.start}, 0
    with job.task(part).attempt() as (paths, counts):
        packing = "zst" if job.packed else ""
        with open_packed(paths[0], packing) as documents, open_packed(paths[1], "zst") as drops:
            for line, whole in split_lines(part.readable(content), MAX_RECORD_BYTES):
                place = {**where, "byte": at}
                at += len(line) + 1
                line = line.removeprefix(BYTE_ORDER_MARK)  # also where files were joined
                if not line.strip():
                    continue
                kept = cleaner.clean(line, whole, place)
                if kept is not None:
                    documents.write(kept)
                else:
                    drops.write(cleaner.last_drop)
        if cleaner.tally.records != cleaner.tally.documents + cleaner.tally.dropped:
            raise DataError(f"{part}: records were lost", rule="every record is kept or dropped for a reason")
        written = zip((DOCUMENTS, DROPPED), paths, strict=True) if job.in_shards else ()
        counts |= {
            **asdict(cleaner.tally),
            DAMAGE: part.damage,
            SHA256: {ending: hash_file(path).sha256 for ending, path in written},
        }
    return counts


class DroppedError(Exception):
    """A record goes no further: at which operation, under which reason, and why in words."""

    def __init__(self, operation: str, reason: str, detail: str) -> None:
        super().__init__(f"{operation}: {reason}: {detail}")
        self.operation = operation
        self.reason = reason
        self.detail = detail


class Cleaner:
    """Takes lines one by one. Whatever happens with one costs that one."""

    def __init__(self, operations: list[Operation], text_key: str, count_tokens: CountTokens | None = None) -> None:
        self.operations = operations
        self.text_key = text_key
        self.count_tokens = count_tokens
        self.tally = Tally.of(len(operations))
        self.last_drop = b""

    def clean(self, line: bytes, whole: bool, place: dict[str, Any]) -> bytes | None:
        """The cleaned line, or None where the record is dropped; :attr:`last_drop` then says why."""
        self.tally.records += 1
        record: dict[str, Any] = {}
        shown: str | None = None
        try:
            if not whole:
                raise DroppedError(READ, "too_long", "no line end for too many bytes")
            try:
                record = parse_object(line)
                document = Document(record, self.text_key)
            except RejectedRecordError as error:
                raise DroppedError(READ, error.reason, error.detail) from None
            shown = record[self.text_key]
            return self._cleaned(document)
        except DroppedError as error:
            self._drop(error, record, line.decode("utf-8", "backslashreplace") if shown is None else shown, place)
            return None

    def _cleaned(self, document: Document) -> bytes:
        """The line of the document behind all operations.

        Raises:
            DroppedError: an operation drops it or fails, or nothing is left of it.
        """
        source = document.record.get("source")
        source = source if isinstance(source, str) else ""
        tokens = self._tokens(document)
        self.tally.pass_on(source, 0, 1, len(document), tokens)
        for step, operation in enumerate(self.operations):
            try:
                judgement = self._run(step, operation, document)
            except Exception as error:  # an operation that fails on a document costs that document
                self.tally.failures += 1
                raise DroppedError(operation.name, "failed", f"{type(error).__name__}: {error}") from error
            if judgement is not None and judgement.why:
                raise DroppedError(operation.name, judgement.reason, judgement.why)
            if isinstance(operation, Mapper):
                tokens = self._tokens(document)
            self.tally.pass_on(source, step + 1, 1, len(document), tokens)
        try:
            finished = document.finish()
            written = orjson.dumps(finished) + b"\n"
            text_bytes = len(finished[self.text_key].encode())
        except RejectedRecordError as error:
            raise DroppedError(WRITE, error.reason, error.detail) from None
        except (TypeError, UnicodeEncodeError) as error:
            raise DroppedError(WRITE, "failed", str(error)) from None
        self.tally.pass_on(source, -1, 1, len(document), tokens)
        self.tally.documents += 1
        self.tally.text_bytes += text_bytes
        return written

    def _run(self, step: int, operation: Operation, document: Document) -> Judgement | None:
        """Runs an operation on a document; what a filter found."""
        if isinstance(operation, Filter):
            if isinstance(operation, RecordFilter):
                judgement = operation.judge_record(document.record)
            else:
                judgement = operation.judge(document.plain())
            self.tally.measure(step, operation.scale, judgement.value)
            return judgement
        if isinstance(operation, Mapper):
            document.apply(operation)
        return None

    def _tokens(self, document: Document) -> int:
        return self.count_tokens(str(document.plain())) if self.count_tokens is not None else 0

    def _drop(self, error: DroppedError, record: dict[str, Any], text: str, place: dict[str, Any]) -> None:
        said = {**place, "id": str(record.get("id", "")), "source": str(record.get("source", ""))}
        said |= {"operation": error.operation, "characters": len(text)}
        self.last_drop = reject_line(said, error.reason, error.detail, text[:CONTENT_CHARACTERS])
        drop = json.loads(self.last_drop)
        rank = xxhash.xxh3_64_intdigest(f"{drop['id']}\n{drop['content']}".encode("utf-8", "backslashreplace")) >> 1
        self.tally.drop(error.operation, error.reason, rank, drop)
