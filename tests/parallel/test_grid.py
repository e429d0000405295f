"""The rank grid."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from helpers.processes import run_processes
from steel_megatron.config import ConfigError, ParallelConfig
from steel_megatron.parallel.grid import AXES, Grid, axis_groups, axis_sizes
from steel_megatron.parallel.processes.launch import initialize, shutdown


def test_default_order_puts_tensor_parallel_ranks_side_by_side():
    sizes = {"tp": 2, "dp": 2, "pp": 2}
    assert axis_groups(sizes, "tp-dp-pp", "tp") == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert axis_groups(sizes, "tp-dp-pp", "dp") == [(0, 2), (1, 3), (4, 6), (5, 7)]
    assert axis_groups(sizes, "tp-dp-pp", "pp") == [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert axis_groups(sizes, "pp-dp-tp", "tp") == [(0, 4), (1, 5), (2, 6), (3, 7)]


@given(
    st.tuples(*[st.integers(1, 4)] * 3),
    st.permutations(AXES).map("-".join),
)
def test_groups_partition_the_ranks_and_cross_in_one_rank(shape, order):
    sizes = dict(zip(AXES, shape, strict=True))
    world = shape[0] * shape[1] * shape[2]
    found = {axis: axis_groups(sizes, order, axis) for axis in AXES}
    for axis in AXES:
        assert sorted(rank for group in found[axis] for rank in group) == list(range(world))
        assert all(len(group) == sizes[axis] for group in found[axis])
    for tp in found["tp"]:
        for dp in found["dp"]:
            assert len(set(tp) & set(dp)) <= 1
    fastest = order.split("-")[0]
    assert found[fastest][0] == tuple(range(sizes[fastest]))


def test_an_order_that_names_an_axis_twice_is_refused():
    with pytest.raises(ConfigError, match="rank-order tp-tp-pp"):
        axis_groups({"tp": 1, "dp": 1, "pp": 1}, "tp-tp-pp", "tp")


def test_what_is_left_over_is_data_parallel():
    parallel = ParallelConfig(tensor_model_parallel_size=2, pipeline_model_parallel_size=3)
    assert axis_sizes(parallel, 12) == {"tp": 2, "dp": 2, "pp": 3}
    with pytest.raises(ConfigError, match="8 processes for tensor 2 × pipeline 3"):
        axis_sizes(parallel, 8)


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
