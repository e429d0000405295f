"""The rank grid: which ranks share a layer (tp), a batch (dp) and the layers' order (pp).

A rank is a point of one grid. ``--rank-order tp-dp-pp`` numbers it with tp varying fastest: with tp 2, dp 2, pp 2,

    rank   0 1 2 3 4 5 6 7
    tp     0 1 0 1 0 1 0 1      neighbours, so that tensor parallel stays inside the node
    dp     0 0 1 1 0 0 1 1
    pp     0 0 0 0 1 1 1 1

The ranks that differ in one coordinate only are that axis's group.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from steel_megatron.config import ConfigError, ParallelConfig

AXES = ("tp", "dp", "pp")
WATCH_FIRST = timedelta(seconds=30)  # from the end of a collective's time to the end of the library's patience


@dataclass(frozen=True)
class Axis:
    """One direction of the grid as this rank sees it.

    ``ranks``: the global ranks of its group in order, ``rank`` this rank's place among them. ``group`` is None when the
    axis has one rank: nothing is communicated then.
    """

    name: str
    size: int = 1
    rank: int = 0
    group: dist.ProcessGroup | None = None
    ranks: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Grid:
    """This rank's place in the grid, its groups and its device.

    ``ends``: the first and the last pipeline stage, which share the tied embedding; of size 1 on the stages between.

    ``sequence_parallel``: between tensor-parallel regions each tp rank holds a slice of the sequence.
    ``overlap_tensor_parallel``: tensor-parallel communication runs beside the gradient matmuls.
    """

    tp: Axis
    dp: Axis
    pp: Axis
    world: Axis
    device: torch.device
    sequence_parallel: bool = False
    overlap_tensor_parallel: bool = True
    ends: Axis = Axis("ends")

    @classmethod
    def single(cls, device: str | torch.device = "cpu") -> Grid:
        """A grid of one process; torch.distributed is not touched."""
        return cls(Axis("tp"), Axis("dp"), Axis("pp"), Axis("world"), torch.device(device))

    @classmethod
    def create(cls, parallel: ParallelConfig, device: str | torch.device = "cpu") -> Grid:
        """Places this rank and creates every group once; a collective call after ``init_process_group``."""
        world_size, rank = dist.get_world_size(), dist.get_rank()
        sizes = axis_sizes(parallel, world_size)
        device = torch.device(device)
        everyone = dist.group.WORLD if world_size > 1 else None
        axes = {}
        for name in AXES:
            groups = axis_groups(sizes, parallel.rank_order, name)
            ranks = next(group for group in groups if rank in group)
            group = everyone if len(ranks) == world_size else None
            if 1 < len(ranks) < world_size:
                # Every rank calls this for every axis in the same order, as torch demands.
                group = new_group(groups, parallel, group_options(parallel, device, high_priority=name == "tp"))
            axes[name] = Axis(name, len(ranks), ranks.index(rank), group, ranks)
        world = Axis("world", world_size, rank, everyone, tuple(range(world_size)))
        sequence_parallel = parallel.sequence_parallel and axes["tp"].size > 1
        return cls(
            axes["tp"],
            axes["dp"],
            axes["pp"],
            world,
            device,
            sequence_parallel=sequence_parallel,
            overlap_tensor_parallel=parallel.overlap_tensor_parallel,
            ends=pipeline_ends(axes["pp"], axis_groups(sizes, parallel.rank_order, "pp"), parallel),
        )


def pipeline_ends(pp: Axis, groups: list[tuple[int, ...]], parallel: ParallelConfig) -> Axis:
    """The axis of a pipeline's first and last rank; a collective call."""
    if pp.size == 1:
        return Axis("ends")
    ends: list[tuple[int, ...]] = [(ranks[0], ranks[-1]) for ranks in groups]
    group = pp.group if pp.size == 2 else new_group(ends, parallel)
    if pp.rank not in (0, pp.size - 1):
        return Axis("ends")
    return Axis("ends", 2, int(pp.rank > 0), group, (pp.ranks[0], pp.ranks[-1]))


def stage_group(grid: Grid, parallel: ParallelConfig) -> dist.ProcessGroup | None:
    """The group of all ranks of this rank's pipeline stage (tp × dp), None if it is alone. A collective call."""
    if grid.pp.size == 1:
        return grid.world.group
    if 1 in (grid.tp.size, grid.dp.size):
        return grid.tp.group or grid.dp.group
    pipelines = axis_groups(axis_sizes(parallel, grid.world.size), parallel.rank_order, "pp")
    return new_group([tuple(sorted(stage)) for stage in zip(*pipelines, strict=True)], parallel)


def new_group(groups: list[tuple[int, ...]], parallel: ParallelConfig, options: Any = None) -> dist.ProcessGroup:
    """This rank's group among groups that part all ranks; the timeout is not inherited, so it is given again.

    Each costs a communicator, with memory on every GPU: an axis that is everyone takes the group of all ranks instead.
    """
    members = [list(group) for group in groups]
    return dist.new_subgroups_by_enumeration(members, timeout=group_timeout(parallel), pg_options=options)[0]


def group_timeout(parallel: ParallelConfig) -> timedelta:
    """Of every group's collectives: a little more than the run's own limit, whose watch can say who is waited for."""
    return timedelta(minutes=parallel.distributed_timeout_minutes) + WATCH_FIRST


def group_options(parallel: ParallelConfig, device: torch.device, high_priority: bool) -> Any:
    """NCCL's options of a group; None for its defaults, and without NCCL.

    The tensor-parallel group runs at high priority: its kernels take multiprocessors as they become free, while a
    matmul runs beside them.
    """
    nccl = getattr(dist, "ProcessGroupNCCL", None)  # not in a torch without it
    if nccl is None or not high_priority or device.type != "cuda" or parallel.distributed_backend == "gloo":
        return None
    return nccl.Options(is_high_priority_stream=True)


def axis_sizes(parallel: ParallelConfig, world_size: int) -> dict[str, int]:
    """Ranks along each axis; what tensor and pipeline parallel leave over is data parallel.

    Raises:
        ConfigError: the processes do not fill the grid.
    """
    tp, pp = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    if world_size % (tp * pp):
        raise ConfigError(
            f"{world_size} processes for tensor {tp} × pipeline {pp}",
            rule="the number of processes is a multiple of tensor × pipeline",
            fix=f"start a multiple of {tp * pp} processes (torchrun --nproc-per-node), or shrink the layout",
        )
    return {"tp": tp, "dp": world_size // (tp * pp), "pp": pp}


def axis_groups(sizes: Mapping[str, int], rank_order: str, axis: str) -> list[tuple[int, ...]]:
    """The groups of an axis as global ranks: a partition of all ranks.

    Args:
        sizes: ranks along each of tp, dp, pp.
        rank_order: the axes joined by ``-``, the fastest-varying first.
    """
    order = rank_order.split("-")
    if sorted(order) != sorted(AXES):
        raise ConfigError(
            f"--rank-order {rank_order}", rule="it names tp, dp and pp once each", fix="use tp-dp-pp, the default"
        )
    strides = {name: math.prod(sizes[faster] for faster in order[:i]) for i, name in enumerate(order)}
    others = [name for name in reversed(order) if name != axis]
    groups = []
    for place in itertools.product(*(range(sizes[name]) for name in others)):
        first = sum(index * strides[name] for name, index in zip(others, place, strict=True))
        groups.append(tuple(first + i * strides[axis] for i in range(sizes[axis])))
    return groups
