"""The part of tokenising that runs in worker processes: a part of an input in, files of ids and lengths out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from steel_megatron.config import DataError
from steel_megatron.jobs.hashes import FileRecord
from steel_megatron.jobs.parts import Part
from steel_megatron.jobs.progress import add_to
from steel_megatron.jobs.tasks import Task
from steel_megatron.jobs.unpack import read_blocks
from steel_megatron.tokens.token_type import to_stored
from steel_megatron.tokens.tokenise.batch import EncodeJob, KeyTokens, TokenizedBatch, tokenize_batch
from steel_megatron.tokens.tokenise.lines import BATCH_BYTES, line_batches

IDS, LENGTHS, REJECTED = ".ids", ".lengths", ".rejects"
LENGTH_TYPE = "<i4"


@dataclass(frozen=True)
class UnpackedPart(Part):
    """Lines of a file that one reader unpacks for all; they lie in the file ``lines``, which goes with the part."""

    lines: str = ""

    def content(self, on_read: Callable[[bytes], Any] | None = None) -> Iterator[bytes]:
        with open(self.lines, "rb") as file:
            yield from read_blocks(file)


@dataclass
class KeyCounts:
    """Of one key's documents; ``sequences`` have a token, ``largest_id`` is -1 when none has."""

    sequences: int = 0
    tokens: int = 0
    text_bytes: int = 0
    largest_id: int = -1


@dataclass
class PartCounts:
    """Of one part; lines = documents + rejects + blank lines.

    Args:
        record: of a file that is one part.
        damage: of the file, which was skipped.
    """

    keys: list[KeyCounts]
    documents: int = 0
    lines: int = 0
    blank_lines: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    record: FileRecord | None = None
    damage: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, mark: dict[str, Any]) -> PartCounts:
        """From the mark of a part."""
        record = mark["record"] and FileRecord(**mark["record"])
        return cls(**{**mark, "keys": [KeyCounts(**key) for key in mark["keys"]], "record": record})


@dataclass(frozen=True)
class PartFiles:
    """Where the files of parts lie.

    Args:
        keys: how many there are; each has files of ids and of lengths in tokens.
    """

    folder: str
    keys: int

    def task(self, part: int, used: bool = False) -> Task:
        """
        Args:
            used: its ids may have gone to a dataset.
        """
        suffixes = [f".{key}{kind}" for key in range(self.keys) for kind in (IDS, LENGTHS)]
        return Task(Path(self.folder, f"{part:06d}"), (*suffixes, REJECTED), files_go=used)

    def file(self, part: int, key: int, kind: str) -> Path:
        return self.task(part).file(f".{key}{kind}")


@dataclass(frozen=True)
class PartJob:
    """What every worker needs to know.

    Args:
        bins: the ``.bin`` of each key, as it is called while it is made.
    """

    encode: EncodeJob
    files: PartFiles
    bins: tuple[str, ...] = ()
    batch_bytes: int = BATCH_BYTES
    counter: Any = None  # shared counts of what is done


def tokenize_part(job: PartJob, part: Part) -> PartCounts:
    """Writes the ids, lengths and rejects of a part. Rejects are numbered from its first line."""
    counts = PartCounts([KeyCounts() for _ in job.encode.keys])
    digest, read, told = hashlib.sha256(), 0, 0
    unpacked = isinstance(part, UnpackedPart)
    is_file = not unpacked and (part.start, part.stop) == (0, part.file.bytes)

    def on_read(data: bytes) -> None:
        nonlocal read
        read += len(data)
        if is_file:
            digest.update(data)

    with job.files.task(part.number).attempt() as (paths, mark):
        with ExitStack() as stack:
            files = [stack.enter_context(open(path, "wb")) for path in paths]
            for batch in line_batches(part.readable(part.content(on_read)), job.batch_bytes):
                done = tokenize_batch(job.encode, batch)
                _write(part, counts, done, files, job.encode.dtype)
                tokens, text_bytes = (sum(column) for column in zip(*map(_size, done.keys), strict=True))
                add_to(job.counter, read - told, len(done.keys[0].lengths_B), tokens, text_bytes)
                told = read
        if not part.packed and read < part.size:
            raise DataError(f"{part.path} has become shorter while it was read")
        add_to(job.counter, (part.size if unpacked else read) - told)
        if is_file:
            counts.record = FileRecord(part.path, read, digest.hexdigest())
        counts.damage = part.damage
        mark.update(asdict(counts))
    if isinstance(part, UnpackedPart):
        Path(part.lines).unlink()
    return counts


def _write(part: Part, counts: PartCounts, done: TokenizedBatch, files: Sequence[IO[bytes]], dtype: str) -> None:
    """Adds a batch to the files of a part and counts it.

    Raises:
        DataError: a line was lost.
    """
    documents = len(done.keys[0].lengths_B)
    if documents + len(done.rejects) + done.blank_lines != done.lines:
        raise DataError(
            f"{part}: {done.lines:,} lines gave {documents:,} documents, {len(done.rejects):,} rejects and "
            f"{done.blank_lines:,} blank lines",
            rule="every line becomes one of these",
        )
    *outputs, rejected = files
    for key, made, ids, lengths in zip(counts.keys, done.keys, outputs[::2], outputs[1::2], strict=True):
        ids.write(to_stored(made.ids_T, dtype).data)
        lengths.write(made.lengths_B.astype(LENGTH_TYPE).data)
        key.sequences += int(np.count_nonzero(made.lengths_B))
        key.tokens += len(made.ids_T)
        key.text_bytes += made.text_bytes
        if len(made.ids_T):
            key.largest_id = max(key.largest_id, int(made.ids_T.max()))
    for reject in done.rejects:
        counts.rejects[reject.reason] = counts.rejects.get(reject.reason, 0) + 1
        rejected.write(replace(reject, line=reject.line + counts.lines).json(part.path))
    counts.documents += documents
    counts.lines += done.lines
    counts.blank_lines += done.blank_lines


def _size(made: KeyTokens) -> tuple[int, int]:
    return len(made.ids_T), made.text_bytes
