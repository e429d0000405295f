"""The checkpoints of a run: ``ROOT/step_0000100/`` each, whole or not counted.

A checkpoint is written under a hidden name, every file is on the disk and hashed before the marker ``complete.json`` is
written, and the folder gets its name last. A killed save leaves a hidden folder that the next save removes.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steel_megatron.checkpoint import ranks
from steel_megatron.checkpoint.dcp_adapter import BlocksByName, listed, read_blocks, stored_tensors, write_blocks
from steel_megatron.checkpoint.files import (
    FACTS,
    MARKER,
    problem_with,
    record_of,
    sync_folder,
    write_bytes,
    write_json,
)
from steel_megatron.config import CheckpointError
from steel_megatron.parallel.spec import Block

log = logging.getLogger(__name__)

NAME = re.compile(r"step_(\d{7,})")
PARTIAL = ".partial_"


class CheckpointStore:
    """Saves, finds, checks and reads checkpoints below ``root``.

    Methods that say so are collective calls where torch.distributed is initialised: every rank makes them, and all
    return the same or raise. Ranks on several nodes share the file system.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, step: int) -> Path:
        return self.root / f"step_{step:07d}"

    def steps(self) -> list[int]:
        """Steps with a checkpoint whose marker is there, ascending; their content is not looked at."""
        if not self.root.is_dir():
            return []
        matches = [NAME.fullmatch(path.name) for path in self.root.iterdir() if (path / MARKER).is_file()]
        return sorted(int(match[1]) for match in matches if match)

    def save(self, step: int, blocks: BlocksByName, facts: dict[str, Any], random_state: bytes | None = None) -> Path:
        """Writes a checkpoint (collective).

        Args:
            step: the number in its name.
            blocks: this rank's tensors by name; blocks that several ranks hold are written once.
            facts: everything that is not tensors, as JSON can say it; rank 0's is kept.
            random_state: this rank's, see :mod:`steel_megatron.checkpoint.rng`.

        Raises:
            CheckpointError: on every rank, if any rank failed; nothing that looks whole is left.
        """
        started = time.perf_counter()
        final = self.folder(step)
        partial = self.root / f"{PARTIAL}{final.name}"
        ranks.on_main(lambda: self._make_partial(partial), f"preparing checkpoint {final}")
        try:
            own = ranks.everywhere(lambda: self._write(partial, blocks, random_state), f"writing checkpoint {final}")
            records = {name: record for part in own for name, record in part.items()}
            ranks.on_main(lambda: self._complete(partial, final, records, facts), f"completing checkpoint {final}")
        except CheckpointError:
            if ranks.rank() == 0:
                shutil.rmtree(partial, ignore_errors=True)
            raise
        size = sum(record["bytes"] for record in records.values()) / 1e9
        seconds = time.perf_counter() - started
        log.info("saved %s: %.2f GB in %.1f s (%.2f GB/s)", final, size, seconds, size / seconds)
        return final

    def newest(self) -> int | None:
        """The newest step whose files are all whole; damaged checkpoints are named and passed over (collective)."""
        for step in reversed(ranks.on_main(self.steps, f"listing {self.root}")):
            problems = self.verify(step)
            if not problems:
                return step
            log.warning("checkpoint %s is not used: %s", self.folder(step), "; ".join(problems[:3]))
        return None

    def verify(self, step: int) -> list[str]:
        """What is wrong with a checkpoint, file by file (collective; the ranks share the work).

        Raises:
            CheckpointError: a file cannot be read at all.
        """
        found = ranks.everywhere(lambda: self._problems(step), f"checking {self.folder(step)}")
        return [problem for part in found for problem in part]

    def facts(self, step: int) -> dict[str, Any]:
        """What :meth:`save` was given as ``facts``."""
        try:
            content: dict[str, Any] = json.loads((self.folder(step) / FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.folder(step) / FACTS} cannot be read: {error}") from error
        return content

    def random_state(self, step: int) -> bytes | None:
        """This rank's random state, if the checkpoint was written by as many ranks as there are now."""
        files = list(self.folder(step).glob("random_*.bin"))
        if len(files) != ranks.world_size():
            log.info("random states of %d ranks are not taken up by %d", len(files), ranks.world_size())
            return None
        return (self.folder(step) / _random_name()).read_bytes()

    def load(self, step: int, into: BlocksByName) -> None:
        """Fills blocks, in place, from the stored tensors of their names, whatever layout wrote them (collective).

        Raises:
            CheckpointError: tensors are missing or have another shape; the first of them are named.
        """
        started = time.perf_counter()
        self._check_names(step, into)
        read_blocks(self.folder(step), into, ranks.host_group())
        log.info("loaded %s in %.1f s", self.folder(step), time.perf_counter() - started)

    def tensors(self, step: int) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Name → (shape, type) of every stored tensor."""
        stored = stored_tensors(self.folder(step))
        return {name: (tuple(item.size), item.properties.dtype) for name, item in stored.items()}

    def read_tensors(self, step: int, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Whole tensors, one at a time, in this process alone."""
        stored = self.tensors(step)
        for name in names:
            if name not in stored:
                raise CheckpointError(f"{self.folder(step)} has no tensor {name}")
            shape, dtype = stored[name]
            tensor = torch.empty(shape, dtype=dtype)
            read_blocks(self.folder(step), {name: Block(tensor, shape, (0,) * len(shape))}, None, alone=True)
            yield name, tensor

    def prune(self, retain: int | None, retain_interval: int | None = None) -> None:
        """Removes all but the ``retain`` newest checkpoints and those at multiples of ``retain_interval``.

        Only rank 0 acts; a checkpoint loses its name before its files, so none is ever half there.
        """
        if retain is None or ranks.rank() != 0:
            return
        for step in self.steps()[: -max(retain, 1)]:
            if retain_interval and step % retain_interval == 0:
                continue
            doomed = self.root / f"{PARTIAL}{self.folder(step).name}"
            shutil.rmtree(doomed, ignore_errors=True)
            self.folder(step).rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def describe(self) -> str:
        """What is there, for an error message."""
        if not self.root.is_dir():
            return f"{self.root} is not a folder"
        whole = self.steps()
        others = sorted(p.name for p in self.root.iterdir() if NAME.fullmatch(p.name) and not (p / MARKER).is_file())
        text = f"{self.root} holds checkpoints of steps {', '.join(map(str, whole)) or 'none'}"
        return text + (f"; without {MARKER}: {', '.join(others)}" if others else "")

    def _make_partial(self, partial: Path) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        for leftover in self.root.glob(f"{PARTIAL}*"):
            shutil.rmtree(leftover)
        partial.mkdir()

    def _write(self, partial: Path, blocks: BlocksByName, random_state: bytes | None) -> dict[str, dict[str, Any]]:
        """Writes this rank's files and returns their records by name."""
        write_blocks(partial, blocks, ranks.host_group())
        files = sorted(partial.glob(f"__{ranks.rank()}_*.distcp"))
        if random_state is not None:
            files.append(partial / _random_name())
            write_bytes(files[-1], random_state)
        return {path.name: record_of(path) for path in files}

    def _complete(self, partial: Path, final: Path, records: dict[str, dict[str, Any]], facts: dict[str, Any]) -> None:
        write_json(partial / FACTS, facts)
        for name in (".metadata", FACTS):
            records[name] = record_of(partial / name)
        write_json(partial / MARKER, {"files": records})
        sync_folder(partial)
        if final.exists():  # a damaged one of the same step, or one that a run is repeated over
            shutil.rmtree(final)
        partial.rename(final)
        sync_folder(self.root)

    def _problems(self, step: int) -> list[str]:
        folder = self.folder(step)
        try:
            files: dict[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))["files"]
            share = sorted(files)[ranks.rank() :: ranks.world_size()]
            return [problem for name in share if (problem := problem_with(folder / name, files[name]))]
        except (ValueError, KeyError, TypeError) as error:
            return [f"{MARKER} is damaged ({error})"] if ranks.rank() == 0 else []

    def _check_names(self, step: int, into: BlocksByName) -> None:
        stored = self.tensors(step)
        wrong = []
        for name, blocks in into.items():
            shape = tuple(listed(blocks)[0].global_shape) if listed(blocks) else ()
            if name not in stored:
                wrong.append(f"{name} is missing")
            elif shape and stored[name][0] != shape:
                wrong.append(f"{name} is {stored[name][0]}, the model needs {shape}")
        if wrong:
            more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
            raise CheckpointError(
                f"{self.folder(step)} does not fit the model: {'; '.join(wrong[:3])}{more}",
                rule="a checkpoint has every tensor of the model, in its shape",
                fix="start with the model configuration that the checkpoint was made with (facts.json, 'config')",
            )


def _random_name() -> str:
    return f"random_{ranks.rank():05d}.bin"
