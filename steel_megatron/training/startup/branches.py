"""Branches of a run: what it leaves when it goes back to an earlier step is set aside, and nothing is deleted.

``SAVE/branches.json`` lists, oldest first, each time that something was set aside or a branch begun. An entry is
written before anything is moved and marked as finished after, so that the next start ends what a kill cut off. What
was left lies in ``SAVE/set_aside/NAME/``, which is a run's folder itself: later checkpoints, and the metrics, events,
configuration and tokenizer as they were.

Rank 0 alone acts, and holds the folder's lock.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from steel_megatron.config import CheckpointError
from steel_megatron.jobs.durable import partial_of, sync, write_json
from steel_megatron.training.output.metrics_rows import read_metrics

FILE = "branches.json"
ASIDE = "set_aside"
METRICS = "metrics.jsonl"
KEPT_TOO = ("config.yaml", "tokenizer")
EVENTS = "events.out.tfevents.*"  # each process writes one of its own, and no other process goes on with it

BACK = "back"  # --ckpt-step
FRESH = "fresh"  # --fresh-start
DAMAGED = "damaged"  # checkpoints passed over: the branch goes on


@dataclass(frozen=True)
class Leaving:
    """What a run leaves.

    ``step``: its last step before the branch begins, 0 if it starts anew. ``later``: names of the checkpoints to set
    aside.
    """

    kind: str
    step: int
    later: tuple[str, ...] = ()
    name: str | None = None  # of the branch that begins, --branch


@dataclass(frozen=True)
class Entry:
    """A line of the file: a :class:`Leaving`, when it was, and the folder of what was left (None: nothing was)."""

    kind: str
    step: int
    later: list[str]
    name: str | None
    folder: str | None
    time: str
    finished: bool

    def begun_by(self, kind: str, step: int, name: str | None) -> bool:
        """Whether a command that asks for this has been followed already."""
        return (self.kind, self.step, self.name) == (kind, step, name)


class Branches:
    """The branches of the run in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / FILE

    def entries(self) -> list[Entry]:
        """What the file says; nothing if there is none.

        Raises:
            CheckpointError: it cannot be read.
        """
        try:
            return [Entry(**entry) for entry in json.loads(self.path.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"{self.path} cannot be read: {error}",
                rule="it tells at which step the run's branch began",
                fix=f"look at what is in {self.root / ASIDE}, then remove the file: the run goes on from its newest "
                "checkpoint",
            ) from error

    def current(self) -> Entry | None:
        """How the branch that the folder holds began; None: at the beginning."""
        return next((entry for entry in reversed(self.entries()) if entry.kind != DAMAGED), None)

    def finish(self, events: Path) -> Entry | None:
        """Ends a setting aside that was cut off, and returns it; ``events`` as in :meth:`leave`."""
        entries = self.entries()
        if not entries or entries[-1].finished:
            return None
        self._move(entries[-1], events)
        self._write([*entries[:-1], replace(entries[-1], finished=True)])
        return entries[-1]

    def leave(self, leaving: Leaving, events: Path) -> Entry:
        """Sets aside what the run leaves, and notes the branch that begins.

        Args:
            events: folder of the tensorboard events.
        """
        folder = None
        if leaving.later or self._measured_after(leaving.step):
            folder = f"{ASIDE}/{self._free_name(leaving)}"
            (self.root / folder).mkdir(parents=True, exist_ok=True)  # where that fails, nothing has been begun
        entry = Entry(
            leaving.kind,
            leaving.step,
            list(leaving.later),
            leaving.name,
            folder,
            time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            finished=False,
        )
        entries = self.entries()
        self._write([*entries, entry])
        self._move(entry, events)
        self._write([*entries, replace(entry, finished=True)])
        return entry

    def _measured_after(self, step: int) -> bool:
        path = self.root / METRICS
        rows = read_metrics(path) if path.is_file() else []
        return bool(rows) and rows[-1].get("step", 0) > step

    def _free_name(self, leaving: Leaving) -> str:
        stem = {BACK: "after", DAMAGED: "damaged_after", FRESH: "before_fresh_start"}[leaving.kind]
        stem = stem if leaving.kind == FRESH else f"{stem}_step_{leaving.step:07d}"
        name, number = stem, 1
        while os.path.lexists(path := self.root / ASIDE / name) and not (path.is_dir() and not os.listdir(path)):
            number += 1
            name = f"{stem}_{number}"
        return name

    def _move(self, entry: Entry, events: Path) -> None:
        """Moves and copies what is not there yet; may be repeated."""
        if entry.folder is None:
            return
        target = self.root / entry.folder
        _copy(self.root / METRICS, target / METRICS)
        if entry.kind != DAMAGED:
            for path in _files_of(self.root, KEPT_TOO):
                _copy(path, target / path.relative_to(self.root))
            for path in events.glob(EVENTS):
                _link(path, target / "tensorboard" / path.name)
        for name in entry.later:
            if os.path.lexists(self.root / name):
                (self.root / name).rename(target / name)
        for folder in (target, target.parent, self.root):
            sync(folder)

    def _write(self, entries: Iterable[Entry]) -> None:
        write_json(self.path, [asdict(entry) for entry in entries])


def _files_of(root: Path, names: Iterable[str]) -> Iterator[Path]:
    """Files of these names, and those in folders of these names."""
    for name in names:
        yield from sorted((root / name).iterdir()) if (root / name).is_dir() else [root / name]


def _copy(source: Path, target: Path) -> None:
    """A copy under its name once it is whole; nothing of what is not there, or there already."""
    if not source.is_file() or target.exists():
        return
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, partial_of(target))
    os.replace(partial_of(target), target)


def _link(source: Path, target: Path) -> None:
    """A second name of a file that is not written to again; on a disk without such names, or another one, a copy."""
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        _copy(source, target)
