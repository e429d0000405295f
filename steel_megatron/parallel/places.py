"""Where each rank stands in the grid: pure arithmetic on sizes and the rank order, the same on every rank.

With H = cp × dp ranks that see different data, two grids number the same ranks. Layers that every rank has use the one,
experts the other; tp and pp are the same in both, and nothing asks that cp divides by ep:

    tp × cp × dp × pp        a rank's data place is q = cp's place + cp × dp's place (with cp before dp in the order)
    tp × ep × edp × pp       ep's place is q mod ep, edp's is q div ep (with ep before dp): edp = cp × dp / ep

A product of axes of one of the grids is the ranks that differ in these coordinates only. For the axes' names and for
the order, see Megatron-LM's ``RankGenerator``, whose numbers these are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from steel_megatron.config import ConfigError, ParallelConfig

AXES = ("tp", "cp", "ep", "dp", "pp")
EDP = "edp"  # the ranks that hold one expert: what ep leaves of cp × dp
GRIDS = (("tp", "cp", "dp", "pp"), ("tp", "ep", EDP, "pp"))


def axis_sizes(parallel: ParallelConfig, world_size: int, cp: int = 1, ep: int = 1) -> dict[str, int]:
    """Ranks along each axis; what tensor, context and pipeline parallel leave over is data parallel.

    Raises:
        ConfigError: the processes do not fill the grid, or the experts' part of it.
    """
    tp, pp = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    dense = tp * cp * pp
    if world_size % dense:
        context = f" × context {cp}" if cp > 1 else ""
        raise ConfigError(
            f"{world_size} processes for tensor {tp}{context} × pipeline {pp}",
            rule=f"the number of processes is a multiple of tensor{context and ' × context'} × pipeline",
            fix=f"start a multiple of {dense} processes (torchrun --nproc-per-node), or shrink the layout",
        )
    dp = world_size // dense
    if cp * dp % ep:
        raise ConfigError(
            f"experts over {ep} ranks of {cp * dp}",
            rule="expert parallel divides context × data parallel: its ranks are some of those",
            fix=f"choose one of {', '.join(str(n) for n in range(1, cp * dp + 1) if cp * dp % n == 0)}",
        )
    return {"tp": tp, "cp": cp, "ep": ep, "dp": dp, "pp": pp}


def axis_order(rank_order: str) -> tuple[str, ...]:
    """All five axes, the fastest-varying first; cp and ep, where they are not named, stand right before dp.

    Raises:
        ConfigError: an axis is named twice, is unknown, or tp, dp or pp is missing.
    """
    named = rank_order.split("-")
    if len(set(named)) < len(named) or not {"tp", "dp", "pp"} <= set(named) <= set(AXES):
        raise ConfigError(
            f"--rank-order {rank_order}",
            rule="it names tp, dp and pp once each, and may name cp and ep",
            fix="use tp-dp-pp, the default, which means tp-cp-ep-dp-pp",
        )
    data = named.index("dp")
    return (*named[:data], *(axis for axis in ("cp", "ep") if axis not in named), *named[data:])


def axis_groups(sizes: Mapping[str, int], rank_order: str, *axes: str) -> list[tuple[int, ...]]:
    """The groups of a product of axes as global ranks: a partition of all ranks, each group and the list ascending.

    Args:
        sizes: ranks along each axis; 1 along one that is missing.
        rank_order: as in :func:`axis_order`.
        axes: of one grid: some of tp, cp, dp, pp, or some of tp, ep, edp, pp.
    """
    grid = next((grid for grid in GRIDS if set(axes) <= set(grid)), None)
    if grid is None or len(set(axes)) < len(axes):
        raise ValueError(f"{' × '.join(axes)} is no product: its axes are once each of {GRIDS[0]} or of {GRIDS[1]}")
    others = [axis for axis in grid if axis not in axes]
    groups: dict[tuple[int, ...], list[int]] = {}
    for rank, place in enumerate(_places(sizes, rank_order)):
        groups.setdefault(tuple(place[axis] for axis in others), []).append(rank)
    return [tuple(ranks) for ranks in groups.values()]


def _places(sizes: Mapping[str, int], rank_order: str) -> list[dict[str, int]]:
    """Each rank's coordinates, in both grids."""
    order = axis_order(rank_order)
    ep = sizes.get("ep", 1)
    if ep > 1 and max(map(order.index, ("cp", "ep", "dp"))) - min(map(order.index, ("cp", "ep", "dp"))) > 2:
        raise ConfigError(
            f"--rank-order {rank_order} with experts over {ep} ranks",
            rule="cp, ep and dp stand side by side in it, since ep is a part of cp × dp",
            fix="use tp-cp-ep-dp-pp",
        )
    dense = [axis for axis in order if axis != "ep"]
    replicas = sizes.get("cp", 1) * sizes.get("dp", 1) // ep
    places = []
    for rank in range(math.prod(sizes.get(axis, 1) for axis in dense)):
        place, rest, data, stride = {}, rank, 0, 1
        for axis in dense:
            rest, place[axis] = divmod(rest, sizes.get(axis, 1))
            if axis in ("cp", "dp"):
                data, stride = data + stride * place[axis], stride * sizes.get(axis, 1)
        if order.index("ep") < order.index("dp"):
            place[EDP], place["ep"] = divmod(data, ep)
        else:
            place["ep"], place[EDP] = divmod(data, replicas)
        places.append(place)
    return places
