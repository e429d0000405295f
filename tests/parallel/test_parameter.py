"""What a parameter knows of itself: its pieces, their rows, and which of them are padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from steel_megatron.parallel.parameter import (
    ParamSpec,
    Piece,
    TensorSlice,
    attach_spec,
    parameters_with_spec,
    row_slices,
    slices_of,
    without_padding,
)


def stack(*heights: int, width: int = 3) -> nn.Parameter:
    """A parameter of pieces of these heights, each the second half of a tensor; row r holds r."""
    pieces = tuple(Piece(f"t{i}", (rows, width), (2 * rows, width), (rows, 0)) for i, rows in enumerate(heights))
    rows = torch.arange(float(sum(heights)))[:, None].expand(-1, width).clone()
    return attach_spec(nn.Parameter(rows), ParamSpec(pieces, decay=True))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_a_run_of_rows_is_cut_where_pieces_meet(heights, data):
    parameter = stack(*heights)
    first = data.draw(st.integers(0, sum(heights)))
    last = data.draw(st.integers(first, sum(heights)))
    found = list(row_slices(parameter, first, parameter.detach()[first:last]))
    assert [row for _, block in found for row in block.tensor[:, 0].tolist()] == list(range(first, last))
    for piece, block in found:
        assert piece.offset[0] <= block.offset[0]
        assert block.offset[0] + len(block.tensor) <= piece.offset[0] + piece.shape[0]
        start = sum(heights[: int(piece.name[1:])])
        assert block.tensor[0, 0] == start + block.offset[0] - piece.offset[0]


def test_pieces_are_views():
    parameter = stack(2, 1)
    for _, block in slices_of(parameter):
        block.tensor.fill_(7.0)
    assert (parameter == 7.0).all()


@pytest.mark.parametrize(("offset", "left"), [(0, 4), (4, 2), (5, 1), (6, None), (8, None)])
def test_padding_of_a_vocabulary_is_cut_off(offset, left):
    piece = Piece("embedding.weight", (4, 2), (12, 2), (offset, 0), rows=6)
    found = without_padding(piece, TensorSlice(torch.zeros(4, 2), (12, 2), (offset, 0)))
    assert (None if found is None else (len(found.tensor), found.global_shape)) == (left and (left, (6, 2)))


@pytest.mark.parametrize(
    ("shape", "whole", "replicas", "counts"),
    [((2,), (8,), 1, [0, 1, 2, 3]), ((8,), (8,), 1, [0]), ((4,), (8,), 2, [0, 2]), ((8,), (8,), 4, [0])],
)
def test_every_block_counts_on_one_rank(shape, whole, replicas, counts):
    piece = Piece("x", shape, whole, (0,), replicas=replicas)
    assert [rank for rank in range(4) if piece.counts_on(rank)] == counts


def test_what_is_declared_wrongly_is_refused():
    piece = Piece("x", (2, 3), (2, 3), (0, 0))
    with pytest.raises(ValueError, match=r"pieces of x stack to \(2, 3\), the parameter is \(3, 3\)"):
        attach_spec(nn.Parameter(torch.zeros(3, 3)), ParamSpec((piece,), decay=True))
    with pytest.raises(ValueError, match="summed over"):
        ParamSpec((piece,), decay=True, summed_over=("pp",))
    with pytest.raises(TypeError, match="parameter weight has no spec"):
        parameters_with_spec([nn.Linear(2, 2)])


def test_a_shared_parameter_is_listed_once():
    module = nn.ModuleList([nn.ParameterList([stack(2)])])
    assert len(parameters_with_spec([module, module])) == 1
