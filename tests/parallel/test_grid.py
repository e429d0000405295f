"""The rank grid."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from helpers.processes import run_processes
from steel_megatron.config import ConfigError, ParallelConfig
from steel_megatron.parallel.grid import Axis, Grid
from steel_megatron.parallel.places import axis_groups, axis_sizes
from steel_megatron.parallel.processes.launch import initialize, shutdown


def test_without_torchrun_nothing_is_initialised(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    grid = initialize(ParallelConfig(), "cpu")
    assert not dist.is_initialized()
    assert grid.world.size == grid.dp.size == 1
    assert grid.dp.group is None
    with pytest.raises(ConfigError, match="rank-order tp-pp"):
        initialize(ParallelConfig(rank_order="tp-pp"), "cpu")
    with pytest.raises(ConfigError, match="1 processes for tensor 2"):
        initialize(ParallelConfig(tensor_model_parallel_size=2), "cpu")


def places() -> list[tuple[int, float, int]]:
    """(rank, sum of the group's global ranks, size) per axis, after torchrun's way of starting."""
    grid = initialize(ParallelConfig(tensor_model_parallel_size=2, distributed_timeout_minutes=1), "cpu")
    rows = []
    for axis in (grid.tp, grid.dp, grid.pp, grid.world):
        total = torch.tensor(float(grid.world.rank))
        if axis.size > 1:
            dist.all_reduce(total, group=axis.group)
        assert total.item() == sum(axis.ranks) if axis.size > 1 else axis.group is None
        assert axis.ranks[axis.rank] == dist.get_rank()
        rows.append((axis.rank, total.item(), axis.size))
    shutdown()
    return rows


def test_groups_of_real_processes():
    found = run_processes(places, 4, init_group=False)
    assert found[3] == [(1, 5.0, 2), (1, 4.0, 2), (0, 3.0, 1), (3, 6.0, 4)]
    assert found[0] == [(0, 1.0, 2), (0, 2.0, 2), (0, 0.0, 1), (0, 6.0, 4)]


def too_wide_for_the_node() -> None:
    with pytest.raises(ConfigError, match="4 with 2 processes per node"):
        initialize(ParallelConfig(tensor_model_parallel_size=4), "cpu")


def test_tensor_parallel_stays_inside_the_node():
    variables = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    run_processes(too_wide_for_the_node, 1, init_group=False, env=variables)


def test_single_touches_no_process_group():
    grid = Grid.single()
    assert grid.device == torch.device("cpu")
    assert grid.world.ranks == (0,)


ASKED = (
    ("cp", "dp"),
    ("tp",),
    ("tp", "cp", "dp"),
    ("tp", "ep"),
    ("edp", "tp"),
    ("ep", "edp"),
    ("tp", "cp", "dp", "pp"),
)


def sums_over(axis: Axis) -> tuple[tuple[int, ...], float]:
    total = torch.tensor(float(dist.get_rank()))
    if axis.size > 1:
        dist.all_reduce(total, group=axis.group)
    return axis.ranks, total.item()


def products(cp: int, ep: int, tp: int, order: str) -> tuple[list[tuple[tuple[int, ...], float]], int]:
    """What each product sums up to on this rank, and the communicators made for all of them."""
    parallel = ParallelConfig(tensor_model_parallel_size=tp, rank_order=order)
    sizes = axis_sizes(parallel, dist.get_world_size(), cp=cp, ep=ep)
    grid = Grid.create(parallel, sizes=sizes)
    assert grid.over("cp", "dp") is grid.make("cp", "dp"), "made at the start"
    found = [sums_over(grid.make(*axes)) for axes in ASKED]
    for axes in ASKED:
        expected = next(g for g in axis_groups(sizes, order, *axes) if dist.get_rank() in g)
        assert grid.over(*axes).ranks == expected
    assert grid.groups is not None
    return found, len(grid.groups.made)


def test_products_are_summed_over_by_as_few_communicators_as_possible():
    # cp, dp and, with one rank more than cp × dp, its group: what is everyone or equal to another has none of its own.
    for (cp, ep, tp), communicators in (((2, 2, 1), 2), ((1, 1, 1), 0), ((1, 2, 2), 2), ((1, 1, 2), 2), ((2, 4, 1), 2)):
        for found, made in run_processes(products, 4, cp, ep, tp, "tp-cp-ep-dp-pp"):
            assert made == communicators, (cp, ep, tp)
            assert all(total == sum(ranks) for ranks, total in found)
    assert run_processes(products, 4, 2, 2, 1, "tp-cp-dp-ep-pp")[1][0][0] == ((0, 1, 2, 3), 6.0)


def test_a_product_that_was_not_made_is_refused():
    grid = Grid(Axis("tp", 2), Axis("dp", 2), Axis("pp"), Axis("world", 4), torch.device("cpu"))
    assert grid.over("dp", "cp") is grid.dp
    with pytest.raises(KeyError):
        grid.over("tp", "dp")
    with pytest.raises(ValueError, match="tp × dp in a grid without processes"):
        grid.make("tp", "dp")
