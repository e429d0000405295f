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
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from steel_megatron.config import ConfigError, ParallelConfig

AXES = ("tp", "dp", "pp")


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
class Mesh:
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
    def single(cls, device: str | torch.device = "cpu") -> Mesh:
        """A grid of one process; torch.distributed is not touched."""
        return cls(Axis("tp"), Axis("dp"), Axis("pp"), Axis("world"), torch.device(device))

    @classmethod
    def create(cls, parallel: ParallelConfig, device: str | torch.device = "cpu") -> Mesh:
        """Places this rank and creates every group once; a collective call after ``init_process_group``."""
        world_size, rank = dist.get_world_size(), dist.get_rank()
        sizes = axis_sizes(parallel, world_size)
        axes = {}
        for name in AXES:
            groups = axis_groups(sizes, parallel.rank_order, name)
            ranks = next(group for group in groups if rank in group)
            # Every rank calls this for every axis in the same order, as torch demands.
            group = new_group(groups, parallel) if len(ranks) > 1 else None
            axes[name] = Axis(name, len(ranks), ranks.index(rank), group, ranks)
        everyone = dist.group.WORLD if world_size > 1 else None
        world = Axis("world", world_size, rank, everyone, tuple(range(world_size)))
        sequence_parallel = parallel.sequence_parallel and axes["tp"].size > 1
        return cls(
            axes["tp"],
            axes["dp"],
            axes["pp"],
            world,
            torch.device(device),
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


def stage_group(mesh: Mesh, parallel: ParallelConfig) -> dist.ProcessGroup | None:
    """The group of all ranks of this rank's pipeline stage (tp × dp), None if it is alone. A collective call."""
    if mesh.pp.size == 1 or mesh.pp.size == mesh.world.size:
        return mesh.world.group if mesh.pp.size == 1 else None
    pipelines = axis_groups(axis_sizes(parallel, mesh.world.size), parallel.rank_order, "pp")
    return new_group([tuple(sorted(stage)) for stage in zip(*pipelines, strict=True)], parallel)


def new_group(groups: list[tuple[int, ...]], parallel: ParallelConfig) -> dist.ProcessGroup:
    """This rank's group among groups that part all ranks; the timeout is not inherited, so it is given again."""
    timeout = timedelta(minutes=parallel.distributed_timeout_minutes)
    return dist.new_subgroups_by_enumeration([list(group) for group in groups], timeout=timeout)[0]


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


@dataclass(frozen=True)
class Launch:
    """What torchrun told this process."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int


def launch_from(environment: Mapping[str, str]) -> Launch | None:
    """Torchrun's variables; None when the process was started by hand.

    Raises:
        ConfigError: some of the variables are there and others are not.
    """
    if "WORLD_SIZE" not in environment and "RANK" not in environment:
        return None
    needed = ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"]
    missing = [name for name in needed if name not in environment]
    if missing:
        there = ", ".join(f"{name}={environment[name]}" for name in needed if name in environment)
        raise ConfigError(
            f"{there} without {', '.join(missing)}",
            rule="torchrun sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT together",
            fix="start with torchrun --nproc-per-node N, or unset them to run one process",
        )
    rank, world_size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    local = int(environment.get("LOCAL_WORLD_SIZE", world_size))
    return Launch(rank, world_size, int(environment.get("LOCAL_RANK", rank % local)), local)


def initialize(parallel: ParallelConfig, device_choice: str = "auto") -> Mesh:
    """Joins the run that torchrun started, or makes a grid of one process when it did not.

    Args:
        parallel: layout, backend and timeout.
        device_choice: ``auto`` (CUDA if present), ``cpu`` or ``cuda``.

    Raises:
        ConfigError: no such device, a layout that the processes do not fill, or half of torchrun's variables.
    """
    launch = launch_from(os.environ)
    device = choose_device(device_choice, launch.local_rank if launch else 0)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    sizes = axis_sizes(parallel, launch.world_size if launch else 1)
    axis_groups(sizes, parallel.rank_order, "tp")  # a wrong order is refused before processes wait for one another
    if launch is None or launch.world_size == 1:
        return Mesh.single(device)
    if parallel.rank_order.startswith("tp") and launch.local_world_size % sizes["tp"]:
        raise ConfigError(
            f"tensor parallel {sizes['tp']} with {launch.local_world_size} processes per node",
            rule="a tensor-parallel group stays inside a node",
            fix="choose a --tensor-model-parallel-size that divides the processes per node",
        )
    dist.init_process_group(
        choose_backend(parallel.distributed_backend, device),
        timeout=timedelta(minutes=parallel.distributed_timeout_minutes),
        device_id=device if device.type == "cuda" else None,
    )
    return Mesh.create(parallel, device)


def shutdown() -> None:
    """Leaves the run; safe to call when there is none."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def choose_device(choice: str, local_rank: int) -> torch.device:
    """The device of this process among those of its node."""
    if choice == "cpu" or (choice == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError("--device cuda, but torch sees no CUDA device", fix="use --device auto or cpu")
    if local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"process {local_rank} of this node with {torch.cuda.device_count()} GPUs",
            rule="each process has a GPU of its own",
            fix="start fewer processes per node, or use --device cpu",
        )
    return torch.device("cuda", local_rank)


def choose_backend(choice: str, device: torch.device) -> str:
    """The backend string for torch; with GPUs, tensors in host memory still travel over gloo."""
    if choice == "nccl" and device.type == "cpu":
        raise ConfigError("--distributed-backend nccl on CPU", rule="NCCL needs GPUs", fix="use gloo or auto")
    if device.type == "cpu":
        return "gloo"
    return "gloo" if choice == "gloo" else "cpu:gloo,cuda:nccl"
