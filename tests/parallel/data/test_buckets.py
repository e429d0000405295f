"""The plan of gradient buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.parallel.data.buckets import Bucket, Item, plan_buckets, shard_rows


@st.composite
def matrices(draw: st.DrawFn) -> list[Item]:
    """Of three kinds: one is kept whole, another is shared by half as many ranks, as experts are."""
    ranks = draw(st.integers(1, 5))
    shards = {"a": 2 * ranks, "expert": ranks, "whole": 2 * ranks}
    item = st.builds(
        lambda rows, row, kind: Item(rows * row, row, kind, shards[kind], kind == "whole"),
        st.integers(1, 40),
        st.integers(1, 50),
        st.sampled_from(sorted(shards)),
    )
    return draw(st.lists(item, min_size=1, max_size=12))


def owned(bucket: Bucket, place: int, item: Item) -> list[tuple[int, int, int]]:
    """(shard, first row, rows) wherever a parameter has rows."""
    found = [(shard, *shard_rows(bucket, place, item, shard)) for shard in range(bucket.shards)]
    return [(shard, first, count) for shard, first, count in found if count]


@given(matrices(), st.integers(1, 2000))
def test_shards_cover_every_row_once_and_overlap_nowhere(items, bucket_size):
    buckets = plan_buckets(items, bucket_size)
    assert sorted(i for bucket in buckets for i in bucket.items) == list(range(len(items)))
    for bucket in buckets:
        assert bucket.shard_numel * bucket.shards == bucket.numel
        assert bucket.shard_numel % 8 == 0
        assert {(items[i].kind, items[i].shards) for i in bucket.items} == {
            (items[bucket.items[0]].kind, bucket.shards)
        }
        ends = [(offset, offset + items[i].numel) for i, offset in zip(bucket.items, bucket.offsets, strict=True)]
        assert all(start % 8 == 0 for start, _ in ends)
        flat = [edge for start_and_end in sorted(ends) for edge in start_and_end]
        assert flat == sorted(flat), "no two overlap"
        assert flat[-1] <= bucket.numel
        for place, number in enumerate(bucket.items):
            item, next_row = items[number], 0
            for shard, first, count in owned(bucket, place, item):
                assert first == next_row
                start = bucket.offsets[place] + first * item.row_numel
                assert shard * bucket.shard_numel <= start
                assert start + count * item.row_numel <= (shard + 1) * bucket.shard_numel
                next_row += count
            assert next_row * item.row_numel == item.numel


@given(matrices(), st.integers(1, 2000))
def test_whole_matrices_lie_in_one_shard_and_are_balanced(items, bucket_size):
    for bucket in plan_buckets(items, bucket_size):
        members = [items[i] for i in bucket.items]
        if members[0].whole:
            assert all(len(owned(bucket, place, item)) == 1 for place, item in enumerate(members))
            sizes = [-(-item.numel // 8) * 8 for item in members]
            assert bucket.shard_numel <= sum(sizes) / bucket.shards + max(sizes)


@given(matrices(), st.integers(1, 2000))
def test_buckets_come_in_the_order_in_which_backward_completes_them(items, bucket_size):
    buckets = plan_buckets(items, bucket_size)
    completed_by = [min(bucket.items) for bucket in buckets]
    assert completed_by == sorted(completed_by, reverse=True)


def test_a_parameter_as_large_as_a_bucket_stands_alone():
    items = [Item(numel, row, shards=2) for numel, row in ((1000, 10), (50, 10), (10, 1), (60, 10))]
    assert [bucket.items for bucket in plan_buckets(items, 1000)] == [(3, 2, 1), (0,)]


def test_padding_is_small_for_a_real_shape():
    """1.1 B parameters with rows of 2048 and 5632 over 64 ranks: one percent at most. Of whole ones over 8, ten."""
    hidden, ffn = 2048, 5632
    block = [(2560, hidden), (hidden, hidden), (hidden, 1), (2 * ffn, hidden), (hidden, ffn), (hidden, 1)]
    shapes = [(32000, hidden), *block * 22, (hidden, 1), (32000, hidden)]
    for whole, shards, most in ((False, 64, 1.01), (True, 8, 1.1)):
        items = [Item(rows * row, row, shards=shards, whole=whole and row > 1 and rows < 32000) for rows, row in shapes]
        padded = sum(bucket.numel for bucket in plan_buckets(items, 25_000_000))
        total = sum(item.numel for item in items)
        assert total <= padded < most * total
