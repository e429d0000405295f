"""Rectangles: what is left of one, which parts are whose, and that every element is written once."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.partitions import counts, held_by_ranks
from steel_megatron.checkpoint.boxes import Box, cut, disjoint, minus, share_out

SHAPE = (6, 5, 4)


@st.composite
def boxes(draw: st.DrawFn, dims: int = 3) -> Box:
    ends = [sorted(draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True))) for size in SHAPE[:dims]]
    return Box(tuple(low for low, _ in ends), tuple(high - low for low, high in ends))


def elements(*found: Box) -> set[tuple[int, ...]]:
    """The indices in some boxes."""
    return {
        index
        for box in found
        for index in itertools.product(*(range(s, s + n) for s, n in zip(box.offset, box.shape, strict=True)))
    }


@given(boxes(), boxes())
def test_relations_of_two_boxes_are_those_of_their_elements(one: Box, other: Box) -> None:
    assert one.overlaps(other) == bool(elements(one) & elements(other))
    assert one.contains(other) == (elements(other) <= elements(one))
    rest = minus(one, other)
    assert counts(SHAPE, rest).max(initial=0) <= 1
    assert elements(*rest) == elements(one) - elements(other)
    assert all(box.numel for box in rest)


@given(st.lists(boxes(), max_size=8))
def test_disjoint_parts_cover_the_same_elements_once(found: list[Box]) -> None:
    pairs = list(disjoint(found))
    assert all(box in found and box.contains(part) and part.numel for box, part in pairs)
    np.testing.assert_array_equal(
        counts(SHAPE, [part for _, part in pairs]), np.minimum(counts(SHAPE, found), 1), strict=True
    )


def test_disjoint_boxes_are_left_whole() -> None:
    tiles = [Box((row, column), (2, 3)) for row in (0, 2, 4) for column in (0, 3)]
    assert sorted(disjoint(reversed(tiles))) == [(tile, tile) for tile in tiles]


@given(boxes(), st.integers(1, 200))
def test_cut_pieces_are_runs_of_rows_within_the_limit(box: Box, most: int) -> None:
    pieces = list(cut(box, most))
    assert counts(SHAPE, pieces).max() == 1
    assert elements(*pieces) == elements(box)
    assert all(piece.numel <= most or piece.shape[0] == 1 for piece in pieces)
    assert all(piece.offset[1:] == box.offset[1:] and piece.shape[1:] == box.shape[1:] for piece in pieces)


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 3), st.integers(1, 500))
def test_every_element_is_written_once_by_a_rank_that_holds_it(seed: int, ranks: int, layers: int, most: int) -> None:
    random = np.random.default_rng(seed)
    shapes = {"matrix": (7, 6), "vector": (9,), "cube": (3, 4, 5), "number": ()}
    by_name = {name: held_by_ranks(shape, random, ranks, layers) for name, shape in shapes.items()}
    held = [{name: by_name[name][rank] for name in shapes} for rank in range(ranks)]
    shares = share_out(held, shapes, dict.fromkeys(shapes, 4), most)
    for rank, share in enumerate(shares):
        assert all(any(box.contains(piece) for box in held[rank][name]) for name, piece in share)
    for name, shape in shapes.items():
        written = [piece for share in shares for found, piece in share if found == name]
        assert (counts(shape, written) == 1).all()
        assert all(piece.numel * 4 <= max(most, 4 * math.prod(piece.shape[1:])) for piece in written)


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_what_all_ranks_hold_is_spread_over_them(ranks: int) -> None:
    """Besides shards of unequal size, which have no choice."""
    whole = Box((0, 0), (1000, 8))
    held = [{"everywhere": [whole], f"own{rank}": [Box((0,), (rank * 100,))]} for rank in range(ranks)]
    held[0].pop("own0")
    shapes = {"everywhere": (1000, 8)} | {f"own{rank}": (rank * 100,) for rank in range(1, ranks)}
    shares = share_out(held, shapes, dict.fromkeys(shapes, 1), most_bytes=80)
    load = [sum(piece.numel for _, piece in share) for share in shares]
    assert sum(load) == 8000 + sum(rank * 100 for rank in range(ranks))
    assert max(load) - min(load) <= 80


def test_the_split_does_not_depend_on_the_order_of_names() -> None:
    shapes = dict.fromkeys("abcdef", (4, 4))
    held = [{name: [Box((0, 0), (4, 4))] for name in shapes}] * 3
    turned = [dict(reversed(rank.items())) for rank in held]
    sizes = dict.fromkeys(shapes, 2)
    assert share_out(held, shapes, sizes, 1000) == share_out(turned, shapes, sizes, 1000)


def test_a_tensor_that_is_not_covered_is_refused() -> None:
    with pytest.raises(ValueError, match=r"w of shape \(4, 2\): the ranks hold 6 of its 8 elements"):
        share_out([{"w": [Box((0, 0), (2, 2))]}, {"w": [Box((1, 0), (2, 2))]}], {"w": (4, 2)}, {"w": 4}, 100)


@pytest.mark.parametrize("box", [Box((3, 0), (2, 2)), Box((-1, 0), (5, 2)), Box((0,), (4,))])
def test_a_block_outside_of_its_tensor_is_refused(box: Box) -> None:
    with pytest.raises(ValueError, match="outside of it"):
        share_out([{"w": [Box((0, 0), (4, 2)), box]}], {"w": (4, 2)}, {"w": 4}, 100)
