"""The checkpoints of a run: ``ROOT/step_0000100/`` each, whole or not counted.

A checkpoint is written under a hidden name, every file is on the disk and hashed before the marker ``complete.json`` is
written, and the folder gets its name last. A killed save leaves a hidden folder that the next save removes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steel_megatron.checkpoint import ranks
from steel_megatron.checkpoint.dcp_adapter import (
    METADATA,
    BlocksByName,
    filled,
    read_blocks,
    stored_tensors,
    write_blocks,
)
from steel_megatron.checkpoint.files import (
    FACTS,
    MARKER,
    Records,
    problems_with,
    read_marker,
    record_of,
    step_named_in,
    write_bytes,
)
from steel_megatron.checkpoint.fit import misfits
from steel_megatron.checkpoint.foreign import STEEL_STEP
from steel_megatron.config import CheckpointError
from steel_megatron.config.texts import some
from steel_megatron.jobs.durable import sync, write_json
from steel_megatron.parallel.parameter import TensorSlice

log = logging.getLogger(__name__)

PARTIAL = ".partial_"
NAMED = 5  # so many differences or problems a message names


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
        return [step for step in self.named_steps() if os.path.isfile(self.folder(step) / MARKER)]

    def named_steps(self) -> list[int]:
        """Steps with something of a checkpoint's name, whole or not, ascending; a folder that is not there has none.

        Raises:
            OSError: the folder is there and cannot be listed. Nobody knows what it holds.
        """
        try:
            matches = map(STEEL_STEP.fullmatch, os.listdir(self.root))
        except (FileNotFoundError, NotADirectoryError):
            return []
        steps = {int(match[1]) for match in matches if match}
        return sorted(step for step in steps if os.path.lexists(self.folder(step)))

    def save(self, step: int, blocks: BlocksByName, facts: dict[str, Any], random_state: bytes | None = None) -> Path:
        """Writes a checkpoint (collective).

        Args:
            step: the number in its name.
            blocks: this rank's tensors by name; together the ranks hold all of each. What several ranks hold is written
                once, by the rank that has least to write.
            facts: everything that is not tensors, as JSON can say it; rank 0's is kept.
            random_state: this rank's, see :mod:`steel_megatron.checkpoint.rng`.

        Raises:
            CheckpointError: on every rank, if any rank failed. Nothing that looks whole is left, and the checkpoints
                before it are as they were; the caller may go on.
        """
        started = time.perf_counter()
        final = self.folder(step)
        partial = self.root / f"{PARTIAL}{final.name}"
        ranks.on_main(lambda: self._make_partial(partial), f"preparing checkpoint {final}")
        try:
            own = ranks.everywhere(lambda: self._write(partial, blocks, random_state), f"writing checkpoint {final}")
            records = {name: record for part in own for name, record in part.items()}
            size = sum(record["bytes"] for record in records.values()) / 1e9
            ranks.on_main(lambda: self._complete(partial, final, records, facts), f"completing checkpoint {final}")
        except CheckpointError:
            ranks.on_main(lambda: shutil.rmtree(partial, ignore_errors=True), f"removing {partial}")
            raise
        seconds = time.perf_counter() - started
        log.info("saved %s: %.2f GB in %.1f s (%.2f GB/s)", final, size, seconds, size / seconds)
        return final

    def newest(self) -> int | None:
        """The newest step whose files are all whole; damaged checkpoints are named and passed over (collective)."""
        return self.newest_and_faults()[0]

    def newest_and_faults(self) -> tuple[int | None, dict[int, str]]:
        """The same, with what is wrong with each later checkpoint (collective)."""
        faults: dict[int, str] = {}
        for step in reversed(ranks.on_main(self.named_steps, f"listing {self.root}")):
            problems = self.verify(step)
            if not problems:
                return step, faults
            faults[step] = some(problems, NAMED, "; ")
            log.warning("checkpoint %s is not used: %s", self.folder(step), faults[step])
        return None, faults

    def verify(self, step: int) -> list[str]:
        """What is wrong with a checkpoint, file by file; empty if nothing is (collective; the ranks share the work).

        A whole checkpoint of another step than its folder's name says, renamed or copied, is wrong too: a run that
        went on with it would count its steps from the one and save below the other.
        """
        found = ranks.everywhere(lambda: self._problems(step), f"checking {self.folder(step)}")
        return list(dict.fromkeys(problem for part in found for problem in part))

    def facts(self, step: int) -> dict[str, Any]:
        """What :meth:`save` was given as ``facts``."""
        try:
            content: dict[str, Any] = json.loads((self.folder(step) / FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.folder(step) / FACTS} cannot be read: {error}") from error
        return content

    def random_state(self, step: int) -> bytes | None:
        """This rank's random state, if the checkpoint was written by as many ranks as there are now."""
        written_by = len(list(self.folder(step).glob("random_*.bin")))
        if written_by != ranks.world_size():
            if written_by:
                log.info("random states of %d ranks are not taken up by %d", written_by, ranks.world_size())
            return None
        path = self.folder(step) / _random_name()
        try:
            return path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error

    def load(self, step: int, into: BlocksByName, whole: bool = True) -> None:
        """Fills blocks, in place, from the stored tensors of their names, whatever layout wrote them (collective).

        Values are converted where a block has another type. Files are not hashed: :meth:`newest` and :meth:`verify` do.

        Args:
            whole: the ranks together ask for every part of the stored model.

        Raises:
            CheckpointError: on every rank: tensors are missing, unexpected or of another shape (the first are named),
                or a file cannot be read.
        """
        started = time.perf_counter()
        folder = self.folder(step)
        asked = {name: tuple(part[0].global_shape) for name, blocks in into.items() if (part := filled(blocks))}
        stored = ranks.on_main(lambda: self.tensors(step), f"loading {folder}")
        differences = misfits({name: shape for name, (shape, _) in stored.items()}, ranks.gather(asked), whole)
        if differences:
            raise CheckpointError(
                f"{folder} does not fit the model: {some(differences, NAMED, '; ')}",
                rule="a checkpoint has the tensors of the model, in its shapes, and no others",
                fix=f"start with the model configuration that it was made with ({FACTS}, 'config')",
            )
        ranks.everywhere(lambda: read_blocks(folder, into, ranks.host_group()), f"loading {folder}")
        size = sum(block.tensor.nbytes for blocks in into.values() for block in filled(blocks)) / 1e9
        seconds = time.perf_counter() - started
        log.info("loaded %s: %.2f GB on this rank in %.1f s (%.2f GB/s)", folder, size, seconds, size / seconds)

    def tensors(self, step: int) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Name → (shape, type) of every stored tensor."""
        stored = stored_tensors(self.folder(step))
        return {name: (tuple(item.size), item.properties.dtype) for name, item in stored.items()}

    def read_tensors(self, step: int, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Whole tensors, one at a time, in this process alone; none is kept here while the next is read.

        Raises:
            CheckpointError: there is no such tensor, or a file cannot be read.
        """
        stored = self.tensors(step)
        for name in names:
            if name not in stored:
                raise CheckpointError(f"{self.folder(step)} has no tensor {name}")
            yield name, self._whole_tensor(step, name, *stored[name])

    def prune(self, retain: int | None, retain_interval: int | None = None, saved: int | None = None) -> None:
        """Removes all but the ``retain`` newest checkpoints (0: none) and those at multiples of ``retain_interval``.

        Those of steps after ``saved``, the one just written, are not this run's: they do not count, and stay.
        Only rank 0 acts. A checkpoint loses its name before its files, so none is ever half there. What cannot be
        removed is left, with a warning.
        """
        if not retain or ranks.rank() != 0:
            return
        own = [step for step in self.steps() if saved is None or step <= saved]
        for step in own[:-retain]:
            if retain_interval and step % retain_interval == 0:
                continue
            doomed = self.root / f"{PARTIAL}{self.folder(step).name}"
            try:
                shutil.rmtree(doomed, ignore_errors=True)
                self.folder(step).rename(doomed)
                shutil.rmtree(doomed)
            except OSError as error:
                log.warning("%s is not removed: %s", self.folder(step), error)

    def describe(self) -> str:
        """What is there, for an error message."""
        if not self.root.is_dir():
            return f"{self.root} is not a folder"
        whole = self.steps()
        others = [self.folder(step).name for step in self.named_steps() if step not in whole]
        text = f"{self.root} holds checkpoints of steps {', '.join(map(str, whole)) or 'none'}"
        return text + (f"; without {MARKER}: {', '.join(others)}" if others else "")

    def _make_partial(self, partial: Path) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        for leftover in self.root.glob(f"{PARTIAL}*"):
            shutil.rmtree(leftover)
        partial.mkdir()

    def _write(self, partial: Path, blocks: BlocksByName, random_state: bytes | None) -> Records:
        """Writes this rank's files and returns their records."""
        write_blocks(partial, blocks, ranks.host_group())
        files = sorted(partial.glob(f"__{ranks.rank()}_*.distcp"))
        if random_state is not None:
            files.append(partial / _random_name())
            write_bytes(files[-1], random_state)
        return {path.name: record_of(path) for path in files}

    def _complete(self, partial: Path, final: Path, records: Records, facts: dict[str, Any]) -> None:
        unseen = [name for name in records if not (partial / name).is_file()]
        if unseen:
            raise CheckpointError(f"{unseen[0]} was written, but rank 0 does not see it: is {self.root} on every node?")
        write_json(partial / FACTS, facts, indent=1)
        records = records | {name: record_of(partial / name) for name in (METADATA, FACTS)}
        write_json(partial / MARKER, {"files": records}, indent=1)
        sync(partial)
        replaced = self.root / f"{PARTIAL}replaced_{final.name}"
        if final.exists():  # a damaged one of the same step, or one that a run is repeated over
            final.rename(replaced)
        partial.rename(final)
        sync(self.root)
        shutil.rmtree(replaced, ignore_errors=True)

    def _whole_tensor(self, step: int, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        tensor = torch.empty(shape, dtype=dtype)
        read_blocks(self.folder(step), {name: TensorSlice(tensor, shape, (0,) * len(shape))}, None, alone=True)
        return tensor

    def _problems(self, step: int) -> list[str]:
        try:
            records = read_marker(self.folder(step), needed=(METADATA, FACTS))
        except ValueError as error:
            return [str(error)]
        problems = problems_with(self.folder(step), records, sorted(records)[ranks.rank() :: ranks.world_size()])
        if ranks.rank() == 0 and (other := step_named_in(self.folder(step))) not in (None, step):
            problems.append(f"it is step {other} by its {FACTS}: renamed or copied")
        return problems


def _random_name() -> str:
    return f"random_{ranks.rank():05d}.bin"
