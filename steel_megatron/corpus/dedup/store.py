"""Signatures that runs leave for later ones: a folder to which each run adds what it signed, and what became of it.

A later run numbers the documents of all earlier ones before its own, so their priority is higher and their fates stand.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from steel_megatron.config import DataError
from steel_megatron.corpus.dedup.plan import FORMAT, Plan
from steel_megatron.corpus.dedup.work import GROUPS, SIGNED, Job, Signed
from steel_megatron.jobs.durable import PARTIAL, give_name, partial_of, sync, write_json
from steel_megatron.jobs.locks import locked

MANIFEST = "signatures.manifest.json"
STAY = "stay.u32"  # of each document of a run the one that stays for it, by the numbers of all runs together
SUFFIXES = (".marks", ".hashes", ".signatures", ".ids", ".id_ends")
COMPARED_WITH = "compared_with"  # the setting of a plan: keys of the runs before it
_NAMED = re.compile(r"\d{6}")


@dataclass(frozen=True)
class EarlierRun:
    """What one run left.

    Args:
        key: changes with its inputs and settings.
        output: the folder that its documents went to.
    """

    folder: Path
    key: str
    output: str
    exact_only: bool
    signed: tuple[Signed, ...]


class SignatureStore:
    """The folder of a run, locked while the run goes on; without a folder, nothing is there and nothing is left."""

    def __init__(self, folder: Path | None, output: Path) -> None:
        self.folder = folder
        self.output = os.path.realpath(output)
        self._runs = [] if folder is None else [_read(path) for path in _folders(folder)]
        self.key = ""

    @classmethod
    @contextmanager
    def opened(cls, folder: Path | None, output: Path) -> Iterator[SignatureStore]:
        """
        Raises:
            DataError: another run is at work with it, or a run in it cannot be read.
        """
        if folder is None:
            yield cls(None, output)
            return
        if folder.exists() and not folder.is_dir():
            raise DataError(f"--signatures {folder} is a file", rule="signatures are kept in a folder")
        with locked(folder / "lock", folder):
            for left in folder.glob(f"*{PARTIAL}"):
                shutil.rmtree(left)
            yield cls(folder, output)

    @property
    def before(self) -> tuple[EarlierRun, ...]:
        """The runs that were there when this one began, also if it is there itself already."""
        keys = [run.key for run in self._runs]
        return tuple(self._runs[: keys.index(self.key)] if self.key in keys else self._runs)

    @property
    def has_this_run(self) -> bool:
        return self.folder is None or any(run.key == self.key for run in self._runs)

    def compared(self, plan: Plan, overwrite: bool) -> Plan:
        """The plan of a run that is compared with those that are here.

        Args:
            overwrite: what the output holds is replaced, so its signatures go.

        Raises:
            DataError: there are no signatures to compare with, or documents are to be replaced that others fell for.
        """
        if self.folder is None:
            return plan
        content = plan.manifest.content()
        told = json.dumps([content["settings"], content["inputs"]], sort_keys=True)
        self.key = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()
        replaced = [run for run in self._runs if run.output == self.output and run.key != self.key]
        if replaced and (not overwrite or replaced != self._runs[-1:]):
            raise DataError(
                f"{self.folder} has the signatures of another run that wrote {self.output}",
                rule="what documents were compared with stays as it is",
                fix="use another --output"
                + (", or --overwrite" if replaced == self._runs[-1:] else ": later runs were compared with it"),
            )
        for run in replaced:
            shutil.rmtree(run.folder)
            self._runs.remove(run)
        if not plan.settings.exact_only and any(run.exact_only for run in self.before):
            raise DataError(
                f"{self.folder} holds no signatures of near duplicates",
                rule="a run that was made with --exact-only is compared with exactly",
                fix="give --exact-only, or another --signatures",
            )
        settings = {**plan.manifest.settings, COMPARED_WITH: [run.key for run in self.before]}
        return replace(plan, manifest=replace(plan.manifest, settings=settings))

    def earlier(self, job: Job) -> Job:
        """The job with the documents of the runs before."""
        signed = tuple(part for run in self.before for part in run.signed)
        return replace(job, earlier=signed, stays=tuple(str(run.folder / STAY) for run in self.before))

    def add(self, job: Job) -> None:
        """Keeps what a run signed, as further names of its files; whole or not at all."""
        if self.folder is None or self.has_this_run:
            return
        target = self.folder / f"{len(self._runs):06d}"
        folder = partial_of(target)
        folder.mkdir()
        files: dict[str, int] = {}
        for part in job.plan.parts:
            for suffix in SUFFIXES:
                source = job.path(SIGNED, part.number, suffix)
                give_name(source, folder / source.name)
                files[source.name] = source.stat().st_size
        stay = np.memmap(job.file(GROUPS), np.uint32, "r") if job.documents else np.empty(0, np.uint32)
        stay[job.own_first :].tofile(folder / STAY)
        files[STAY] = 4 * (job.documents - job.own_first)
        documents = np.diff(job.firsts[len(job.earlier) :]).tolist()
        parts = zip(job.plan.parts, documents, strict=True)
        content = {
            "format": FORMAT,
            "key": self.key,
            "output": self.output,
            "exact_only": job.plan.settings.exact_only,
            "parts": [{"source": part.file.source, "documents": count} for part, count in parts],
            "files": files,
        }
        sync(folder / STAY)
        write_json(folder / MANIFEST, content)
        folder.rename(target)
        sync(self.folder)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if _NAMED.fullmatch(path.name)) if folder.is_dir() else []


def _read(folder: Path) -> EarlierRun:
    try:
        content: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        if content["format"] != FORMAT:
            raise DataError(
                f"{folder} has signatures of format {content['format']}",
                rule=f"this version compares those of format {FORMAT}",
                fix="make them again, with another --signatures",
            )
        for name, size in content["files"].items():
            if (folder / name).stat().st_size != size:
                raise ValueError(f"{name} has not {size:,} bytes")
        signed = [Signed(str(folder / f"{n:06d}"), **part) for n, part in enumerate(content["parts"])]
        return EarlierRun(folder, content["key"], content["output"], content["exact_only"], tuple(signed))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder} is not as a run left it: {error}",
            rule="signatures are compared with as they were written",
            fix="copy the folder again, or begin with another --signatures",
        ) from None
