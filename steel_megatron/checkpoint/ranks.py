"""What the ranks of a run tell one another about a checkpoint; in a single process everything is local."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

from steel_megatron.config import CheckpointError, StorageError
from steel_megatron.parallel.processes import operations

T = TypeVar("T")


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def host_group() -> dist.ProcessGroup | None:
    """A group that sends from host memory, so that a save needs no GPU memory; None: the default one, or no group.

    The default group of a run does that beside NCCL, with the run's timeout. Only a program that has joined over NCCL
    alone gets a group of its own here.
    """
    if not dist.is_initialized() or "cpu:gloo" in dist.get_backend_config():
        return None
    return _gloo_group(dist.group.WORLD)


@functools.lru_cache(maxsize=1)
def _gloo_group(world: Any) -> dist.ProcessGroup | None:
    return dist.new_group(backend="gloo")


def gather(value: T) -> list[T]:
    """Every rank's value, on every rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    with operations.waiting("word of every rank about a checkpoint", "world", tuple(range(world_size()))):
        dist.all_gather_object(values, value, group=host_group())
    return values


def everywhere(action: Callable[[], T], what: str) -> list[T]:
    """Runs an action on every rank and returns all results; if it failed on one, all raise with its reason.

    Raises:
        CheckpointError: naming ``what`` was done, the rank and the cause; a StorageError where all causes are the
            file system's.
    """
    failure, advice, result, of_disk = "", ("", ""), None, True
    own: Exception | None = None
    try:
        result = action()
    except CheckpointError as error:  # of a collective call, perhaps: then it names the rank already
        failure, advice, own = error.given, (error.rule, error.fix), error
        of_disk = isinstance(error, StorageError)
    except Exception as error:  # whatever it is, the other ranks must not wait for this one
        failure, own = f"rank {rank()}: {type(error).__name__}: {error}", error
        of_disk = isinstance(error, OSError)
    outcomes = gather((failure, advice, of_disk, result))
    reasons = list(dict.fromkeys(reason for reason, *_ in outcomes if reason))
    if reasons:
        rule, fix = next(advice for reason, advice, *_ in outcomes if reason)
        kind = StorageError if all(of_disk for _, _, of_disk, _ in outcomes) else CheckpointError
        raise kind(f"{what} failed: {'; '.join(reasons[:3])}", rule=rule, fix=fix) from own
    return [value for *_, value in outcomes]  # type: ignore[misc]  # no rank failed, so every result is there


def on_main(action: Callable[[], T], what: str) -> T:
    """Runs an action on rank 0 while the others wait; all get its result or its failure."""
    return everywhere(lambda: action() if rank() == 0 else None, what)[0]  # type: ignore[return-value]  # rank 0's
