"""Steps that call ``steel``, each once: a finished step leaves a record, and is not run again while it holds.

The record of a step holds as long as its command, its input files and the records it builds on are the same. So a
finished step's input may be removed; it is made again only when a later step has to run after all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steel_megatron.config import DataError
from steel_megatron.jobs.durable import write_json
from steel_megatron.jobs.inputs import find_inputs
from steel_megatron.jobs.parts import InputFile


@dataclass
class Step:
    """A call of ``steel``.

    Args:
        flags: what the result depends on; ``how`` only changes how it is reached (workers, memory).
        inputs: files, folders and patterns from outside.
        outputs: what later steps read; ``reads`` is what this step reads of those it needs.
        frees: what nobody reads any more once this step is done.
        facts: reads what the data card tells of the step.
    """

    name: str
    flags: list[str]
    outputs: list[Path]
    facts: Callable[[], dict[str, Any]]
    how: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    needs: list[Step] = field(default_factory=list)
    reads: list[Path] = field(default_factory=list)
    frees: list[Path] = field(default_factory=list)


class Runner:
    """Runs steps in ``work``, with their records in ``work/steps``."""

    def __init__(self, work: Path, keep: bool, overwrite: bool, total: int) -> None:
        self.work, self.keep, self.overwrite, self.total = work, keep, overwrite, total
        self.seen: set[str] = set()
        self.keys: dict[str, str] = {}

    def provide(self, step: Step, wanted: list[Path]) -> None:
        """Runs a step and what it needs, unless its record holds and the outputs wanted are there."""
        record = self.record(step)
        if record is None or not all(path.exists() for path in wanted):
            for needed in step.needs:
                self.provide(needed, [path for path in step.reads if path in needed.outputs])
            print(f"\n[{self._number(step)}/{self.total}] {step.name}", flush=True)
            self._run(step, again=record is not None)
        elif step.name not in self.seen:
            print(f"[{self._number(step)}/{self.total}] {step.name}: done before", flush=True)
        self.free(step)

    def free(self, step: Step) -> None:
        """Removes what nobody reads any more now that the step is done."""
        for path in [] if self.keep else step.frees:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _number(self, step: Step) -> int:
        self.seen.add(step.name)
        return len(self.seen)

    def _run(self, step: Step, again: bool) -> None:
        """``again``: its outputs were removed, so the stage is told to make anew what it thinks is there."""
        command = [sys.executable, "-m", "steel_megatron", *step.flags, *step.how]
        if again or self.overwrite:
            command.append("--overwrite")
        started = time.monotonic()
        status = subprocess.run(command, check=False).returncode
        if status:
            raise DataError(
                f"{step.name} failed with status {status}",
                rule="its own message stands above",
                fix="mend the cause and give the same command again: it goes on with this step",
            )
        record = {"key": self.key(step), "command": command[3:], "seconds": round(time.monotonic() - started, 1)}
        path = self._record_path(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**record, "facts": step.facts()})

    def facts(self, step: Step) -> dict[str, Any]:
        record = self.record(step)
        assert record is not None, step.name
        facts: dict[str, Any] = record["facts"]
        return facts

    def record(self, step: Step) -> dict[str, Any] | None:
        """The record of a step, or None when there is none that holds."""
        try:
            record: dict[str, Any] = json.loads(self._record_path(step).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return record if record.get("key") == self.key(step) else None

    def key(self, step: Step) -> str:
        """A hash of all that the step's result depends on; WORK may be moved."""
        if step.name not in self.keys:
            flags = [flag.replace(str(self.work), "WORK") for flag in step.flags]
            versions = ((file, file.version) for file in files_of(step.inputs))
            files = [(file.path, file.bytes, int(text) if text.isdigit() else text) for file, text in versions]
            content = json.dumps([flags, files, [self.key(needed) for needed in step.needs]])
            self.keys[step.name] = hashlib.sha256(content.encode()).hexdigest()
        return self.keys[step.name]

    def _record_path(self, step: Step) -> Path:
        return self.work / "steps" / f"{step.name.replace(' ', '.')}.json"


def files_of(patterns: list[str]) -> list[InputFile]:
    """The files that ``steel`` finds for these, sorted.

    Raises:
        DataError: there is none for one of them.
    """
    return sorted((InputFile.of(found) for found in find_inputs(patterns).files), key=lambda file: file.path)
