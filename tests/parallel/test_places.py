"""The arithmetic of the rank grid."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import ConfigError, ParallelConfig
from steel_megatron.parallel.places import AXES, EDP, GRIDS, axis_groups, axis_order, axis_sizes

THREE = ("tp", "dp", "pp")
PRODUCTS = sorted({axes for grid in GRIDS for n in range(5) for axes in itertools.combinations(grid, n)})


@st.composite
def layouts(draw: st.DrawFn) -> tuple[dict[str, int], str]:
    """Sizes of all axes and an order in which cp, ep and dp stand side by side."""
    tp, cp, dp, pp = (draw(st.integers(1, 4)) for _ in range(4))
    ep = draw(st.sampled_from([n for n in range(1, cp * dp + 1) if cp * dp % n == 0]))
    data = "-".join(draw(st.permutations(("cp", "ep", "dp"))))
    order = "-".join(draw(st.permutations(("tp", data, "pp"))))
    return {"tp": tp, "cp": cp, "ep": ep, "dp": dp, "pp": pp}, order


def size_of(sizes: dict[str, int], axis: str) -> int:
    return sizes["cp"] * sizes["dp"] // sizes["ep"] if axis == EDP else sizes[axis]


def test_default_order_puts_tensor_parallel_ranks_side_by_side():
    sizes = {"tp": 2, "dp": 2, "pp": 2}
    assert axis_groups(sizes, "tp-dp-pp", "tp") == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert axis_groups(sizes, "tp-dp-pp", "dp") == [(0, 2), (1, 3), (4, 6), (5, 7)]
    assert axis_groups(sizes, "tp-dp-pp", "pp") == [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert axis_groups(sizes, "pp-dp-tp", "tp") == [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert axis_groups(sizes, "tp-dp-pp", "tp", "dp") == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_experts_are_spread_as_in_megatron():
    """Its groups for tp 2, cp 2, ep 4, dp 4 (of the dense grid) in its default order, written out."""
    sizes = {"tp": 2, "cp": 2, "ep": 4, "dp": 4, "pp": 1}
    order = "tp-cp-ep-dp-pp"
    assert axis_groups(sizes, order, "cp")[:3] == [(0, 2), (1, 3), (4, 6)]
    assert axis_groups(sizes, order, "dp")[:2] == [(0, 4, 8, 12), (1, 5, 9, 13)]
    assert axis_groups(sizes, order, "ep") == [(0, 2, 4, 6), (1, 3, 5, 7), (8, 10, 12, 14), (9, 11, 13, 15)]
    assert axis_groups(sizes, order, EDP)[:3] == [(0, 8), (1, 9), (2, 10)]
    assert axis_groups(sizes, "tp-cp-dp-ep-pp", "ep")[0] == (0, 4, 8, 12)


@given(st.tuples(*[st.integers(1, 4)] * 3), st.permutations(THREE))
def test_three_axes_number_ranks_as_digits(shape, order):
    sizes = dict(zip(THREE, shape, strict=True))
    name = "-".join(order)
    for axis in THREE:
        stride = math.prod(sizes[faster] for faster in order[: order.index(axis)])
        found = axis_groups(sizes, name, axis)
        assert all(group == tuple(group[0] + i * stride for i in range(sizes[axis])) for group in found)
        assert sorted(rank for group in found for rank in group) == list(range(math.prod(shape)))
        assert [group[0] for group in found] == sorted(group[0] for group in found)
        spelled_out = name.replace("dp", "cp-ep-dp")
        assert axis_groups({**sizes, "cp": 1, "ep": 1}, spelled_out, axis) == found


@given(layouts(), st.sampled_from(PRODUCTS))
def test_groups_of_a_product_partition_the_ranks_and_meet_the_rest_in_one_rank(layout, axes):
    sizes, order = layout
    world = sizes["tp"] * sizes["cp"] * sizes["dp"] * sizes["pp"]
    found = axis_groups(sizes, order, *axes)
    assert sorted(rank for group in found for rank in group) == list(range(world))
    assert all(len(group) == math.prod(size_of(sizes, axis) for axis in axes) for group in found)
    assert all(list(group) == sorted(group) for group in found)
    for grid in GRIDS:
        if set(axes) <= set(grid):
            rest = axis_groups(sizes, order, *(axis for axis in grid if axis not in axes))
            assert all(len(set(group) & set(other)) == 1 for group in found for other in rest)


@given(layouts())
def test_experts_and_data_part_the_ranks_alike(layout):
    sizes, order = layout
    for others in ((), ("tp",), ("tp", "pp")):
        assert axis_groups(sizes, order, "ep", EDP, *others) == axis_groups(sizes, order, "cp", "dp", *others)
    if sizes["ep"] == 1:
        assert axis_groups(sizes, order, EDP) == axis_groups(sizes, order, "cp", "dp")


def test_an_order_is_read_with_three_or_five_names():
    assert axis_order("tp-dp-pp") == axis_order("tp-cp-ep-dp-pp") == AXES
    assert axis_order("pp-dp-tp") == ("pp", "cp", "ep", "dp", "tp")
    assert axis_order("tp-dp-cp-pp") == ("tp", "ep", "dp", "cp", "pp")
    for wrong in ("tp-tp-pp", "tp-pp", "tp-dp-pp-xp", "tp-dp-pp-dp", ""):
        with pytest.raises(ConfigError, match=f"rank-order {wrong}"):
            axis_order(wrong)


def test_experts_far_from_their_data_ranks_are_refused():
    with pytest.raises(ConfigError, match="cp, ep and dp stand side by side"):
        axis_groups({"tp": 2, "cp": 1, "ep": 2, "dp": 2, "pp": 1}, "ep-tp-cp-dp-pp", "ep")
    with pytest.raises(ValueError, match="cp × ep is no product"):
        axis_groups({"tp": 1, "cp": 2, "ep": 2, "dp": 2, "pp": 1}, "tp-dp-pp", "cp", "ep")


def test_what_is_left_over_is_data_parallel():
    parallel = ParallelConfig(tensor_model_parallel_size=2, pipeline_model_parallel_size=3)
    assert axis_sizes(parallel, 12) == {"tp": 2, "cp": 1, "ep": 1, "dp": 2, "pp": 3}
    assert axis_sizes(parallel, 24, cp=2, ep=4) == {"tp": 2, "cp": 2, "ep": 4, "dp": 2, "pp": 3}
    with pytest.raises(ConfigError, match="8 processes for tensor 2 × pipeline 3"):
        axis_sizes(parallel, 8)
    with pytest.raises(ConfigError, match="12 processes for tensor 2 × context 4 × pipeline 3"):
        axis_sizes(parallel, 12, cp=4)
    with pytest.raises(ConfigError, match=r"experts over 3 ranks of 4.*\n.*\n.*1, 2, 4"):
        axis_sizes(parallel, 24, cp=2, ep=3)
