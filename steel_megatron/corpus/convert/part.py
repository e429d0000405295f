"""The part of converting that runs in worker processes: a part of a file in, two finished files out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from steel_megatron.config import DataError, SteelError
from steel_megatron.corpus.chat.marked_text import Text
from steel_megatron.corpus.convert.plan import rows_of
from steel_megatron.corpus.corpus import Corpus, RejectedRecordError
from steel_megatron.corpus.normalize import normalize
from steel_megatron.corpus.readers import Row
from steel_megatron.corpus.registry import find_corpus
from steel_megatron.jobs.hashes import hash_file
from steel_megatron.jobs.packed import open_packed
from steel_megatron.jobs.parts import SAME_SINCE, Part, key_of
from steel_megatron.jobs.progress import add_to
from steel_megatron.jobs.rejects import reject_line, shown
from steel_megatron.jobs.tasks import Task

FORMAT = 2  # of what is written; another number makes parts of an earlier version be done again
DOCUMENTS, REJECTED = ".documents", ".rejects"


@dataclass(frozen=True)
class ConvertJob:
    """What every worker needs to know."""

    corpus: str
    options: Mapping[str, str]
    source: str
    packing: str  # "", "gz" or "zst"
    folder: str  # of finished parts
    counter: Any = None  # shared count of bytes read
    in_shards: bool = False  # so the documents of a part are hashed while they are in memory

    def task(self, part: Part) -> Task:
        """The files of a part, named after all that their content depends on."""
        settings = [FORMAT, SAME_SINCE, self.corpus, sorted(self.options.items()), self.source, self.packing]
        facts: dict[str, Any] = {name: getattr(part, name) for name in ("path", "kind", "packed", "start", "stop")}
        facts |= {"name": part.file.name, "file_bytes": part.file.bytes, "file_version": part.file.version}
        key = key_of([settings, {**facts, "first": part.first, "size": part.size}])
        return Task(Path(self.folder) / key, (DOCUMENTS, REJECTED))


@dataclass
class PartResult:
    """Counts of one part.

    Args:
        failed: says in words why the file could not be read to its end; then nothing was written.
        damage: what was skipped.
        passed_over: members of an archive.
    """

    records: int = 0
    documents: int = 0
    text_bytes: int = 0
    rejects: dict[str, int] | None = None
    sha256: str = ""
    failed: str = ""
    passed_over: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)


def convert_part(job: ConvertJob, part: Part) -> dict[str, Any]:
    """Writes the documents and rejects of a part; a :class:`PartResult` as counts."""
    corpus = find_corpus(job.corpus)
    result = PartResult()
    reasons: Counter[str] = Counter()
    try:
        with job.task(part).attempt() as (paths, counts):
            with open_packed(paths[0], job.packing) as documents, open(paths[1], "wb") as rejects:
                rows = rows_of(part, corpus, lambda count: add_to(job.counter, count), result.passed_over.append)
                for row in part.readable(rows):
                    result.records += 1
                    try:
                        line, text_bytes = _document(corpus, job, part, row)
                    except RejectedRecordError as error:
                        reasons[error.reason] += 1
                        rejects.write(_reject(part, row, error))
                        continue
                    documents.write(line)
                    result.documents += 1
                    result.text_bytes += text_bytes
            result.rejects = dict(sorted(reasons.items()))
            result.sha256 = hash_file(paths[0]).sha256 if job.in_shards else ""
            result.damage = part.damage
            counts |= asdict(result)
    except DataError as error:
        return asdict(PartResult(failed=str(error)))
    return counts


def _document(corpus: Corpus, job: ConvertJob, part: Part, row: Row) -> tuple[bytes, int]:
    """The output line of a record, and the bytes of its text.

    Raises:
        RejectedRecordError: the record gives no text.
    """
    if row.error is not None:
        raise row.error
    try:
        text = normalize(corpus.text(row.value, job.options))
        name = f"{part.file.name}/{row.member}" if row.member else part.file.name
        identity = corpus.identity(row.value, job.options) or f"{name}:{row.number}"
        plain = text.text if isinstance(text, Text) else text
        document: dict[str, Any] = {"text": plain, "source": job.source, "id": identity}
        if isinstance(text, Text):
            document["control"] = text.control
        return orjson.dumps(document) + b"\n", len(plain.encode())
    except RejectedRecordError:
        raise
    except SteelError:  # a setting or package is wrong, not the record
        raise
    except Exception as error:  # whatever a published record holds, it costs that record only
        raise RejectedRecordError("unexpected", f"{type(error).__name__}: {error}") from error


def _reject(part: Part, row: Row, error: RejectedRecordError) -> bytes:
    head = row.head or repr(row.value).encode("utf-8", "backslashreplace")
    member = {"member": row.member} if row.member else {}
    place = {"file": part.path, **member, "line": row.line, "record": row.number}
    return reject_line(place, error.reason, error.detail, shown(head))
