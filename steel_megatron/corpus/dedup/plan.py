"""The files of a run in the order of their priority, cut into parts. The cut depends on the files alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.dedup.settings import DedupSettings, SourceInput, in_priority
from steel_megatron.jobs.files import BYTE_ORDER_MARK, is_url, state_of
from steel_megatron.jobs.inputs import JSON_LINES, find_inputs, without_ending
from steel_megatron.jobs.never_data import DEDUP_DUPLICATES, DEDUP_REJECTS, DEDUP_REPORT, DEDUP_WORK
from steel_megatron.jobs.suspects import suspicion
from steel_megatron.jobs.unpack import can_be_cut, read_chunks

FORMAT = 1  # of the work folder
PART_BYTES = 256 << 20
SUFFIXES = JSON_LINES
# Files beside the outputs: not names of sources.
DUPLICATES, REJECTS, REPORT, WORK = DEDUP_DUPLICATES, DEDUP_REJECTS, DEDUP_REPORT, DEDUP_WORK


@dataclass(frozen=True)
class DedupFile:
    """An input file; ``output`` is its place below the output folder, with ``/`` on every system."""

    source: str
    path: str
    name: str
    output: str
    bytes: int
    version: str  # changes when the file does


@dataclass(frozen=True)
class DedupPart:
    """The lines that begin at bytes ``start`` to ``stop`` of a file; of a packed file all."""

    number: int
    file: int
    path: str
    start: int
    stop: int | None
    size: int

    def __str__(self) -> str:
        return f"{self.path} from byte {self.start:,} on"


@dataclass(frozen=True, eq=False)
class Plan:
    """What a run does, whoever does it. Plans are equal when their keys are, which are quick to compare."""

    files: tuple[DedupFile, ...]
    parts: tuple[DedupPart, ...]
    settings: DedupSettings
    sets: tuple[DedupFile, ...]  # files of evaluation sets

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @cached_property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(self.fingerprint()).encode()).hexdigest()

    def fingerprint(self) -> dict[str, Any]:
        """What two runs share when one can go on with the work of the other."""
        return {
            "format": FORMAT,
            "settings": asdict(self.settings),
            "inputs": [asdict(file) for file in self.files],
            "evaluation_sets": [asdict(file) for file in self.sets],
            "parts": [[part.file, part.start] for part in self.parts],
        }

    def is_of(self, earlier: dict[str, Any]) -> bool:
        """Whether that is the fingerprint of an earlier run of this plan; version 0.1.0 wrote times as numbers."""
        for file in [*earlier["inputs"], *earlier["evaluation_sets"]]:
            if "mtime_ns" in file:
                file["version"] = str(file.pop("mtime_ns"))
        return earlier == self.fingerprint()


def make_plan(
    inputs: Sequence[SourceInput],
    priority: Sequence[str],
    settings: DedupSettings,
    sets: Sequence[SourceInput],
    part_bytes: int = PART_BYTES,
    output: Path | None = None,
) -> Plan:
    """
    Args:
        output: folder of the run, whose files are no inputs.

    Raises:
        ConfigError: names that do not fit.
        DataError: a file is missing, is no JSON lines file, or is given twice.
    """
    files: list[DedupFile] = []
    for source in in_priority(inputs, priority):
        files += _files_of(source, SUFFIXES, output)
    _refuse_repeated([file.path for file in files], "input file {} is given twice")
    _refuse_repeated([file.output for file in files], "two input files would be written to {}")
    parts: list[DedupPart] = []
    for number, file in enumerate(files):
        parts += _parts_of(number, file, len(parts), part_bytes)
    set_files = tuple(file for given in sets for file in _files_of(given, (".csv", *SUFFIXES), output))
    return Plan(tuple(files), tuple(parts), settings, set_files)


def _files_of(source: SourceInput, suffixes: Sequence[str], folder: Path | None) -> Iterator[DedupFile]:
    if source.name in (DUPLICATES, REJECTS, REPORT, WORK):
        raise ConfigError(f"an input named {source.name}", rule="the output folder has a file of that name")
    found = find_inputs([source.pattern], suffixes, output=folder)
    found.tell()
    for file in found.files:
        location = file.location if is_url(file.location) else str(Path(file.location).resolve())
        state = state_of(location)
        output = f"{source.name}/{without_ending(file.name, SUFFIXES)}.jsonl.zst"
        yield DedupFile(source.name, location, file.name, output, state.bytes, state.version)


def _refuse_repeated(names: Sequence[str], says: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(says.format(name), rule="each record has one place", fix="check the --input patterns")
        seen.add(name)


def _parts_of(number: int, file: DedupFile, first: int, part_bytes: int) -> Iterator[DedupPart]:
    head = next(read_chunks(file.path), b"").removeprefix(BYTE_ORDER_MARK)
    objects = re.search(rb"^\s*\{", head, re.MULTILINE) and not head.lstrip().startswith(b"[")
    if head.strip() and not objects and not suspicion(head):  # those are warned of, and their lines rejected
        raise DataError(
            f"{file.path} holds no JSON object a line",
            rule='dedup reads one {"text": …} object a line, plain or packed',
            fix="convert it with 'steel convert' first",
        )
    if not can_be_cut(file.path) or not file.bytes:
        yield DedupPart(first, number, file.path, 0, None, file.bytes)
        return
    for start in range(0, file.bytes, part_bytes):
        stop = min(start + part_bytes, file.bytes)
        yield DedupPart(first, number, file.path, start, stop, stop - start)
        first += 1
