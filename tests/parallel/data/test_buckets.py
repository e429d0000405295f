"""The plan of gradient buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.parallel.data.buckets import Item, plan_buckets, shard_rows

matrices = st.builds(
    lambda rows, row, kind: Item(rows * row, row, kind), st.integers(1, 40), st.integers(1, 50), st.sampled_from("ab")
)


@given(st.lists(matrices, min_size=1, max_size=12), st.integers(1, 9), st.integers(1, 2000))
def test_shards_cover_every_row_once_and_overlap_nowhere(items, shards, bucket_size):
    buckets = plan_buckets(items, shards, bucket_size)
    assert sorted(i for bucket in buckets for i in bucket.items) == list(range(len(items)))
    for bucket in buckets:
        assert bucket.shard_numel * shards == bucket.numel
        assert bucket.shard_numel % 8 == 0
        assert len({items[i].kind for i in bucket.items}) == 1
        end = 0
        for place, (number, offset) in enumerate(zip(bucket.items, bucket.offsets, strict=True)):
            item = items[number]
            assert offset >= end
            assert offset % 8 == 0
            end = offset + item.numel
            next_row = 0
            for shard in range(shards):
                first, count = shard_rows(bucket, place, item, shard)
                if count:
                    assert first == next_row
                    start = offset + first * item.row_numel
                    assert shard * bucket.shard_numel <= start
                    assert start + count * item.row_numel <= (shard + 1) * bucket.shard_numel
                    next_row += count
            assert next_row * item.row_numel == item.numel
        assert end <= bucket.numel


@given(st.lists(matrices, min_size=1, max_size=12), st.integers(1, 2000))
def test_buckets_come_in_the_order_in_which_backward_completes_them(items, bucket_size):
    buckets = plan_buckets(items, 1, bucket_size)
    completed_by = [min(bucket.items) for bucket in buckets]
    assert completed_by == sorted(completed_by, reverse=True)


def test_a_parameter_as_large_as_a_bucket_stands_alone():
    items = [Item(1000, 10), Item(50, 10), Item(10, 1), Item(60, 10)]
    assert [bucket.items for bucket in plan_buckets(items, 2, 1000)] == [(3, 2, 1), (0,)]


def test_padding_is_small_for_a_real_shape():
    """1.1 B parameters with rows of 2048 and 5632 over 64 ranks: padding stays under one percent."""
    hidden, ffn = 2048, 5632
    block = [(2560, hidden), (hidden, hidden), (hidden, 1), (2 * ffn, hidden), (hidden, ffn), (hidden, 1)]
    items = [Item(rows * row, row) for rows, row in [(32000, hidden), *block * 22, (hidden, 1), (32000, hidden)]]
    padded = sum(bucket.numel for bucket in plan_buckets(items, 64, 25_000_000))
    total = sum(item.numel for item in items)
    assert total <= padded < 1.01 * total
