"""The rank grid: which ranks share a layer (tp), sequence (cp), experts (ep), batch (dp), and the layers' order (pp).

A rank is a point of one grid. ``--rank-order tp-dp-pp`` numbers it with tp varying fastest: with tp 2, dp 2, pp 2,

    rank   0 1 2 3 4 5 6 7
    tp     0 1 0 1 0 1 0 1      neighbours, so that tensor parallel stays inside the node
    dp     0 0 1 1 0 0 1 1
    pp     0 0 0 0 1 1 1 1

The ranks that differ in one coordinate only are that axis's group; those that differ in some coordinates only are the
group of the product of these axes (:meth:`Grid.over`). The arithmetic is :mod:`steel_megatron.parallel.places`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from steel_megatron.config import ParallelConfig
from steel_megatron.parallel.places import AXES, EDP, axis_groups, axis_sizes

WATCH_FIRST = timedelta(seconds=30)  # from the end of a collective's time to the end of the library's patience
PRODUCTS = (("cp", "dp"),)  # made for every run: what gradients are summed over
Ranks = tuple[int, ...]


@dataclass(frozen=True)
class Axis:
    """One direction of the grid, or a product of several, as this rank sees it.

    ``ranks``: the global ranks of its group, ascending, ``rank`` this rank's place among them. ``group`` is None when
    the axis has one rank: nothing is communicated then.
    """

    name: str
    size: int = 1
    rank: int = 0
    group: dist.ProcessGroup | None = None
    ranks: Ranks = (0,)


class Groups:
    """Makes process groups, one for each way in which ranks are parted, whatever axes part them so.

    Each costs a communicator, with memory on every GPU: axes of one rank take none, what is everyone takes the group of
    all ranks, and what is equal to another takes that. Every method is a collective call, in one order on all ranks.
    """

    def __init__(self, sizes: Mapping[str, int], parallel: ParallelConfig, device: torch.device) -> None:
        self.sizes = sizes
        self.parallel = parallel
        self.device = device
        self.made: dict[tuple[Ranks, ...], dist.ProcessGroup] = {}

    def axis(self, *axes: str) -> Axis:
        """A product of axes; ranks of tensor parallel alone talk at high priority."""
        groups = axis_groups(self.sizes, self.parallel.rank_order, *axes)
        return self.parted(" × ".join(axes), groups, high_priority=axes == ("tp",))

    def parted(self, name: str, groups: Iterable[Ranks], high_priority: bool = False) -> Axis:
        """This rank's group among groups that part all ranks, or some of them: the others' axis has one rank."""
        parts, rank, world = tuple(groups), dist.get_rank(), dist.get_world_size()
        ranks = next((part for part in parts if rank in part), (rank,))
        if len(parts[0]) == 1:
            return Axis(name, ranks=ranks)
        if len(parts[0]) == world:
            return Axis(name, world, rank, dist.group.WORLD, ranks)
        if parts not in self.made:
            # The timeout is not inherited, so it is given again.
            self.made[parts] = dist.new_subgroups_by_enumeration(
                [list(part) for part in parts],
                timeout=group_timeout(self.parallel),
                pg_options=group_options(self.parallel, self.device, high_priority),
            )[0]
        return Axis(name, len(ranks), ranks.index(rank), self.made[parts] if len(ranks) > 1 else None, ranks)


@dataclass(frozen=True)
class Grid:
    """This rank's place in the grid, its groups and its device.

    ``ends``: the first and the last pipeline stage, which share the tied embedding; of size 1 on the stages between.
    ``edp``: the ranks that hold the same experts, cp × dp / ep.

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
    cp: Axis = Axis("cp")
    ep: Axis = Axis("ep")
    edp: Axis = Axis(EDP)
    products: dict[frozenset[str], Axis] = field(default_factory=dict, compare=False)  # by axes of several ranks
    groups: Groups | None = field(default=None, compare=False)  # None: no process groups

    @classmethod
    def single(cls, device: str | torch.device = "cpu") -> Grid:
        """A grid of one process; torch.distributed is not touched."""
        return cls(Axis("tp"), Axis("dp"), Axis("pp"), Axis("world"), torch.device(device))

    @classmethod
    def create(
        cls, parallel: ParallelConfig, device: str | torch.device = "cpu", sizes: Mapping[str, int] | None = None
    ) -> Grid:
        """Places this rank and creates the groups of each axis and of ``PRODUCTS``, once.

        A collective call after ``init_process_group``.

        Args:
            sizes: of each axis; what the configuration says when None.
        """
        sizes = axis_sizes(parallel, dist.get_world_size()) if sizes is None else sizes
        groups = Groups(sizes, parallel, torch.device(device))
        tp, cp, ep, dp, pp, edp = (groups.axis(name) for name in (*AXES, EDP))
        ends = [(ranks[0], ranks[-1]) for ranks in axis_groups(sizes, parallel.rank_order, "pp")]
        grid = cls(
            tp,
            dp,
            pp,
            groups.parted("world", [tuple(range(dist.get_world_size()))]),
            groups.device,
            cp=cp,
            ep=ep,
            edp=edp,
            sequence_parallel=parallel.sequence_parallel and tp.size > 1,
            overlap_tensor_parallel=parallel.overlap_tensor_parallel,
            ends=groups.parted("ends", ends) if pp.size > 1 else Axis("ends"),
            groups=groups,
        )
        for product in PRODUCTS:
            grid.make(*product)
        return grid

    def over(self, *axes: str) -> Axis:
        """A product of axes, of ``PRODUCTS`` or made before; one of a single axis of several ranks is that axis.

        Raises:
            KeyError: it has not been made (:meth:`make`).
        """
        large = self._large(axes)
        if len(large) <= 1:
            return large[0] if large else getattr(self, axes[0])
        return self.products[frozenset(axis.name for axis in large)]

    def make(self, *axes: str) -> Axis:
        """The same for any product; its group is created where there is none yet: a collective call."""
        key = frozenset(axis.name for axis in self._large(axes))
        if len(key) > 1 and key not in self.products:
            if self.groups is None:
                raise ValueError(f"{' × '.join(axes)} in a grid without processes")
            self.products[key] = self.groups.axis(*axes)
        return self.over(*axes)

    def _large(self, axes: Iterable[str]) -> list[Axis]:
        return [axis for axis in (getattr(self, name) for name in axes) if axis.size > 1]


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
