"""Where each parameter lies in the gradient buckets: pure arithmetic, the same on every data-parallel rank.

A bucket is what one message reduces. It is divided into equal shards, one per data-parallel rank (one in all without
the sharded optimizer). Shard boundaries fall between rows of the parameters, so that what a rank owns of a parameter is
a run of whole rows. To make that so, a bucket holds matrices of one row length r, and everything is a multiple of it:

    bucket of 3 shards, rows of 4:   |aaaa aaaa bbbb|bbbb bbbb bbbb|bbbb cc.. ....|
                                      shard 0        shard 1        shard 2

Vectors (norms, biases) have rows of one element and fill any bucket. Padding stands between parameters and at the end.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

_ALIGNMENT = 8  # elements: 16 bytes in bf16, which the fastest matmul kernels ask for


@dataclass(frozen=True)
class Item:
    """A parameter as the plan sees it; items of different ``kind`` (dtype, tied group) share no bucket."""

    numel: int
    row_numel: int
    kind: Hashable = None


@dataclass(frozen=True)
class Bucket:
    """``items``: numbers of the parameters in it, ``offsets``: their first elements, ``numel``: with padding."""

    items: tuple[int, ...]
    offsets: tuple[int, ...]
    numel: int
    shards: int

    @property
    def shard_numel(self) -> int:
        """Elements of one rank's shard."""
        return self.numel // self.shards


def plan_buckets(items: Sequence[Item], shards: int, bucket_size: int) -> list[Bucket]:
    """Distributes parameters, given in order of use in the forward pass, over buckets.

    Buckets fill from the last parameter to the first, as their gradients appear in backward, and come in the order in
    which they will be complete. A bucket is closed at ``bucket_size`` elements; an item of that size stands alone.
    """
    closed: list[list[int]] = []
    filling: dict[Hashable, list[int]] = {}  # (kind, row length) → items of the open bucket
    latest: dict[Hashable, Hashable] = {}  # kind → the class of its latest matrix, where vectors go too
    for number in reversed(range(len(items))):
        item = items[number]
        row_class = (item.kind, item.row_numel) if item.row_numel > 1 else latest.get(item.kind, (item.kind, 1))
        if item.row_numel > 1:
            latest[item.kind] = row_class
        members = filling.setdefault(row_class, [])
        if item.numel >= bucket_size and members:
            closed.append(filling.pop(row_class))
            members = filling.setdefault(row_class, [])
        members.append(number)
        if sum(items[i].numel for i in members) >= bucket_size:
            closed.append(filling.pop(row_class))
    closed.extend(filling.values())
    closed.sort(key=lambda members: -members[-1])
    return [_place(members, items, shards) for members in closed]


def shard_rows(bucket: Bucket, place: int, item: Item, shard: int) -> tuple[int, int]:
    """(first row, number of rows) of the bucket's ``place``-th parameter that lie in a shard."""
    offset = bucket.offsets[place]
    low = max(offset, shard * bucket.shard_numel)
    high = min(offset + item.numel, (shard + 1) * bucket.shard_numel)
    if low >= high:
        return 0, 0
    return (low - offset) // item.row_numel, (high - low) // item.row_numel


def _place(members: list[int], items: Sequence[Item], shards: int) -> Bucket:
    row = max(items[i].row_numel for i in members)
    unit = math.lcm(row, _ALIGNMENT) if row > 1 else _ALIGNMENT
    offsets, end = [], 0
    for i in members:
        start = _round_up(end, unit if items[i].row_numel > 1 else _ALIGNMENT)
        offsets.append(start)
        end = start + items[i].numel
    shard_numel = _round_up(-(-end // shards), unit)
    return Bucket(tuple(members), tuple(offsets), shard_numel * shards, shards)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
