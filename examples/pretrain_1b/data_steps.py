"""Steps that call ``steel``, each once: a finished step leaves a record, and is not run again while it holds.

The record of a step holds as long as its command, its input files and the records it builds on are the same. So a
finished step's input may be removed; it is made again only when a later step has to run after all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from steel_megatron.config import DataError
from steel_megatron.jobs.durable import write_json
from steel_megatron.jobs.inputs import find_inputs
from steel_megatron.jobs.parts import InputFile
from steel_megatron.jobs.slots import make_slots


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
    """Runs steps in ``work``, with their records in ``work/steps``.

    Args:
        at_once: steps beside one another. The tasks of all of them are one queue, of which ``workers`` are at work.
    """

    def __init__(self, work: Path, keep: bool, overwrite: bool, workers: int = 1, at_once: int = 1) -> None:
        self.work, self.keep, self.overwrite, self.at_once = work, keep, overwrite, at_once
        self.keys: dict[str, str] = {}
        self._slots = TemporaryDirectory(prefix="steel-slots-")  # on this machine, where locks are sure
        self._environment = {**os.environ, **make_slots(Path(self._slots.name), workers)}

    def provide(self, steps: Sequence[Step]) -> None:
        """Runs steps and what they need, unless their records hold and their outputs are there.

        When a step fails, those that do not need it are run all the same.

        Raises:
            DataError: names the steps that failed.
        """
        todo: dict[str, Step] = {}
        for step in steps:
            self._plan(step, step.outputs, todo)
        every = _with_needs(steps)
        for step in every.values():
            if step.name not in todo:
                print(f"[{list(every).index(step.name) + 1}/{len(every)}] {step.name}: done before", flush=True)
                self.free(step)
        failed: dict[str, int] = {}
        running: dict[Future[int], Step] = {}
        with ThreadPoolExecutor(self.at_once) as threads:
            while True:
                for step in self._startable(todo, running.values(), failed):
                    print(f"\n[{list(every).index(step.name) + 1}/{len(every)}] {step.name}", flush=True)
                    running[threads.submit(self._run, step)] = step
                if not running:
                    break
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    step = running.pop(done)
                    if status := done.result():
                        failed[step.name] = status
                    else:
                        del todo[step.name]
                        self.free(step)
        if failed:
            waiting = [name for name in todo if name not in failed]
            raise DataError(
                ", ".join(f"{name} failed with status {status}" for name, status in failed.items())
                + (f"; not begun, as they need it: {', '.join(waiting)}" if waiting else ""),
                rule="its own message stands above",
                fix="mend the cause and give the same command again: it goes on with what is left",
            )

    def _plan(self, step: Step, wanted: list[Path], todo: dict[str, Step]) -> None:
        """Adds a step that has to be run, behind those that it needs."""
        if step.name in todo or (self.record(step) is not None and all(path.exists() for path in wanted)):
            return
        for needed in step.needs:
            self._plan(needed, [path for path in step.reads if path in needed.outputs], todo)
        todo[step.name] = step

    def _startable(self, todo: dict[str, Step], running: Iterable[Step], failed: dict[str, int]) -> list[Step]:
        """Steps for which there is room, and nothing that they need is still to be done."""
        busy = [step.name for step in running]
        ready = [
            step
            for step in todo.values()
            if step.name not in (*busy, *failed) and not any(needed.name in todo for needed in step.needs)
        ]
        return ready[: self.at_once - len(busy)]

    def free(self, step: Step) -> None:
        """Removes what nobody reads any more now that the step is done."""
        for path in [] if self.keep else step.frees:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _run(self, step: Step) -> int:
        """The exit status of a step's command; what it says is printed behind its name."""
        command = [sys.executable, "-m", "steel_megatron", *step.flags, *step.how]
        if self.overwrite or self.record(step) is not None:  # its outputs were removed: what is left is made anew
            command.append("--overwrite")
        started = time.monotonic()
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self._environment,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                out = sys.stderr if line.startswith(("error", "  rule", "  fix")) else sys.stdout
                print(f"{step.name}: {line}", end="", file=out, flush=True)
        if not process.returncode:
            record = {"key": self.key(step), "command": command[3:], "seconds": round(time.monotonic() - started, 1)}
            path = self._record_path(step)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {**record, "facts": step.facts()})
        return process.returncode

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


def _with_needs(steps: Sequence[Step]) -> dict[str, Step]:
    """The steps and all that they need, each behind what it needs, by name."""
    found: dict[str, Step] = {}
    for step in steps:
        found.update(_with_needs(step.needs))
        found.setdefault(step.name, step)
    return found


def files_of(patterns: list[str]) -> list[InputFile]:
    """The files that ``steel`` finds for these, sorted.

    Raises:
        DataError: there is none for one of them.
    """
    return sorted((InputFile.of(found) for found in find_inputs(patterns).files), key=lambda file: file.path)
