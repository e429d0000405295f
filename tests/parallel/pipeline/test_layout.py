"""Which blocks each rank and chunk holds."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import ConfigError
from steel_megatron.parallel.pipeline.layout import LayerCosts, StageLayers, assign_layers, chunks_per_rank, stage_costs


def counts(*args, **options) -> list[int]:
    """Blocks of each virtual stage in order."""
    parts = sorted((part for row in assign_layers(*args, **options) for part in row), key=lambda part: part.stage)
    return [len(part.layers) for part in parts]


def test_even():
    assert assign_layers(8, 2, 2, layout="even") == (
        (StageLayers(0, range(2), True, False), StageLayers(2, range(4, 6), False, False)),
        (StageLayers(1, range(2, 4), False, False), StageLayers(3, range(6, 8), False, True)),
    )
    assert assign_layers(5, 1) == ((StageLayers(0, range(5), True, True),),)
    with pytest.raises(ConfigError, match="10 layers over 4 virtual stages"):
        assign_layers(10, 2, 2, layout="even")


def test_auto_without_costs_gives_the_later_stages_more():
    assert counts(8, 4) == [2, 2, 2, 2]
    assert counts(10, 4) == [2, 2, 3, 3]
    assert counts(10, 2, 2) == [2, 2, 3, 3]


def test_a_heavy_head_takes_blocks_off_the_last_stage():
    # TinyLlama's body with a vocabulary of 151,936: the head is 21 % of the FLOPs, as much as 5.8 of 22 blocks.
    head = LayerCosts((1.0,) * 22, head=5.8)
    assert counts(22, 2, costs=head) == [14, 8]
    assert counts(22, 4, costs=head) == [7, 7, 7, 1]
    assert counts(22, 8, costs=head) == [3, 3, 3, 3, 3, 3, 4, 0]
    assert counts(22, 2, 2, costs=head) == [7, 7, 7, 1]


@given(
    data=st.data(),
    layers=st.integers(1, 7),
    stages=st.sampled_from([(1, 1), (2, 1), (1, 2), (3, 1), (2, 2), (4, 1)]),
    alike=st.booleans(),
    embedding=st.integers(0, 6),
    head=st.integers(0, 12),
)
def test_auto_is_as_fast_as_any_cut(data, layers, stages, alike, embedding, head):
    ranks, chunks = stages
    number = ranks * chunks
    blocks = data.draw(st.lists(st.integers(1, 5), min_size=layers, max_size=layers))
    costs = LayerCosts(tuple(blocks[:1] * layers if alike else blocks), embedding, head)
    try:
        parts = assign_layers(layers, ranks, chunks, costs=costs)
    except ConfigError:
        assert layers < number or alike  # a stage without a block
        return
    flat = sorted((part for row in parts for part in row), key=lambda part: part.stage)
    assert [layer for part in flat for layer in part.layers] == list(range(layers))
    assert [part.first for part in flat] == [True] + [False] * (number - 1)
    assert [part.last for part in flat] == [False] * (number - 1) + [True]

    def slowest(cut: tuple[int, ...]) -> float:
        ends = list(itertools.accumulate(cut))
        times = [sum(costs.blocks[end - n : end]) for n, end in zip(cut, ends, strict=True)]
        return max(t + (s == 0) * embedding + (s == number - 1) * head for s, t in enumerate(times))

    allowed = [
        cut
        for cut in itertools.product(range(layers + 1), repeat=number)
        if sum(cut) == layers and (all(cut[1:-1]) or alike)
    ]
    assert max(stage_costs(parts, costs)) == min(map(slowest, allowed))


def test_blocks_that_differ_are_weighed_one_by_one():
    """Three cheap blocks for each dear one: each stage has one, and the last less beside its head."""
    costs = LayerCosts((1.0, 1.0, 1.0, 5.0) * 3, head=4.0)
    assert counts(12, 3, costs=costs) == [5, 5, 2]
    assert stage_costs(assign_layers(12, 3, costs=costs), costs) == (9.0, 9.0, 10.0)


def test_ends_without_a_block_where_blocks_that_differ_are_few():
    assert counts(2, 3, costs=LayerCosts((1.0, 2.0), embedding=1.0, head=1.0)) == [1, 1, 0]


def test_given_numbers():
    assert counts(14, 4, layout="3,4,4,3") == [3, 4, 4, 3]
    assert [part.layers for part in assign_layers(6, 2, 2, layout="2, 1,3,0")[1]] == [range(2, 3), range(6, 6)]


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("3,4,4", "11 layers in 3 parts"),
        ("3,4,4,4", "15 layers in 4 parts"),
        ("3,4,-4,3", "numbers of layers"),
        ("even,3", "numbers of layers"),
        ("7,0,4,3", "every virtual stage has a block"),
    ],
)
def test_wrong_numbers(layout, words):
    with pytest.raises(ConfigError, match=words):
        assign_layers(14, 4, layout=layout)


def test_more_stages_than_blocks():
    with pytest.raises(ConfigError, match="use fewer pipeline stages"):
        assign_layers(2, 4)


def test_chunks_from_layers_per_virtual_stage():
    assert chunks_per_rank(24, 4, None) == 1
    assert chunks_per_rank(24, 4, 6) == 1
    assert chunks_per_rank(24, 4, 2) == 3
    assert chunks_per_rank(22, 2, 6) == 2
    with pytest.raises(ConfigError, match="above 0"):
        chunks_per_rank(24, 4, 0)
