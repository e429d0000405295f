"""What a run does: its files in the order of their priority, its settings, and the parts of the files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.dedup.settings import DedupSettings, SourceInput, in_priority
from steel_megatron.jobs.files import BYTE_ORDER_MARK, is_url
from steel_megatron.jobs.inputs import JSON_LINES, find_inputs, without_ending
from steel_megatron.jobs.manifest import SKIP_DAMAGED, JobManifest
from steel_megatron.jobs.never_data import DEDUP_DUPLICATES, DEDUP_REJECTS, DEDUP_REPORT, DEDUP_WORK
from steel_megatron.jobs.parts import InputFile, Part, line_parts, numbered, whole_file
from steel_megatron.jobs.suspects import suspicion
from steel_megatron.jobs.unpack import read_content

FORMAT = 2  # of the work folder; signatures of 1 told traditional characters from simplified ones
PART_BYTES = 256 << 20
# Files beside the outputs: not names of sources.
DUPLICATES, REJECTS, REPORT, WORK = DEDUP_DUPLICATES, DEDUP_REJECTS, DEDUP_REPORT, DEDUP_WORK


@dataclass(frozen=True, eq=False)
class Plan:
    """What a run does, whoever does it. Plans are equal when their keys are, which are quick to compare.

    Args:
        manifest: of the inputs and settings, without results.
        sets: files of evaluation sets.
    """

    manifest: JobManifest
    settings: DedupSettings
    sets: tuple[InputFile, ...]
    parts: tuple[Part, ...] = ()

    @property
    def files(self) -> Sequence[InputFile]:
        return self.manifest.inputs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def skip_damaged(self) -> bool:
        return bool(self.manifest.settings.get(SKIP_DAMAGED))

    @cached_property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(self.content()).encode()).hexdigest()

    @cached_property
    def parts_of(self) -> dict[InputFile, list[Part]]:
        """The parts of each file."""
        found: dict[InputFile, list[Part]] = {file: [] for file in self.files}
        for part in self.parts:
            found[part.file].append(part)
        return found

    def content(self) -> dict[str, Any]:
        """As JSON holds it, for a run that goes on."""
        number = {file: n for n, file in enumerate(self.files)}
        return self.manifest.content() | {"parts": [[number[part.file], part.start] for part in self.parts]}

    def cut(self, part_bytes: int, earlier: Sequence[Sequence[int]] = ()) -> Plan:
        """The plan with its parts.

        Args:
            earlier: number of the file and first byte of each part of a run that is gone on with.
        """
        parts: list[Part] = []
        for number, file in enumerate(self.files):
            starts = [start for at, start in earlier if at == number]
            parts += line_parts(whole_file(file, skip_damaged=self.skip_damaged), part_bytes, starts)
        return replace(self, parts=tuple(numbered(parts)))


def output_of(file: InputFile) -> str:
    """The place of a file's output below the output folder, with ``/`` on every system."""
    return f"{file.source}/{without_ending(file.name, JSON_LINES)}.jsonl.zst"


def make_plan(
    inputs: Sequence[SourceInput],
    priority: Sequence[str],
    settings: DedupSettings,
    sets: Sequence[SourceInput],
    output: Path | None = None,
    skip_damaged: bool = False,
) -> Plan:
    """The plan, not yet cut.

    Args:
        output: folder of the run, whose files are no inputs.
        skip_damaged: what can be read of a damaged file is taken.

    Raises:
        ConfigError: names that do not fit.
        DataError: a file is missing, is no JSON lines file, or is given twice.
    """
    suspects: dict[str, str] = {}
    files: list[InputFile] = []
    for source in in_priority(inputs, priority):
        files += _files_of(source, JSON_LINES, output, suspects)
    _refuse_repeated([file.path for file in files], "input file {} is given twice")
    _refuse_repeated([output_of(file) for file in files], "two input files would be written to {}")
    for file in files if not skip_damaged else ():
        _refuse_other_kinds(file)
    set_files = tuple(file for given in sets for file in _files_of(given, (".csv", *JSON_LINES), output, suspects))
    told = {**asdict(settings), "evaluation_sets": [asdict(file) for file in set_files]}
    told |= {SKIP_DAMAGED: True} if skip_damaged else {}
    return Plan(JobManifest("dedup", told, tuple(files), suspects=suspects, format=FORMAT), settings, set_files)


def _files_of(
    source: SourceInput, suffixes: Sequence[str], output: Path | None, suspects: dict[str, str]
) -> list[InputFile]:
    if source.name in (DUPLICATES, REJECTS, REPORT, WORK):
        raise ConfigError(f"an input named {source.name}", rule="the output folder has a file of that name")
    found = find_inputs([source.pattern], suffixes, output=output)
    suspects.update({f"{source.name}/{name}": what for name, what in found.tell().items()})
    resolved = [
        file if is_url(file.location) else replace(file, location=str(Path(file.location).resolve()))
        for file in found.files
    ]
    return [InputFile.of(file, source.name) for file in resolved]


def _refuse_repeated(names: Sequence[str], says: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(says.format(name), rule="each record has one place", fix="check the --input patterns")
        seen.add(name)


def _refuse_other_kinds(file: InputFile) -> None:
    head = next(read_content(file.path), b"").removeprefix(BYTE_ORDER_MARK)
    objects = re.search(rb"^\s*\{", head, re.MULTILINE) and not head.lstrip().startswith(b"[")
    if head.strip() and not objects and not suspicion(head, lines_only=False):  # those are warned of and rejected
        raise DataError(
            f"{file.path} holds no JSON object a line",
            rule='dedup reads one {"text": …} object a line, plain or packed',
            fix="convert it with 'steel convert' first",
        )
