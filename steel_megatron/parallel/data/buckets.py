"""Where each parameter lies in the gradient buckets: pure arithmetic, the same on every data-parallel rank.

A bucket is what one message reduces. It is divided into equal shards, one per data-parallel rank (one in all without
the sharded optimizer). Shard boundaries fall between rows of the parameters, so that what a rank owns of a parameter is
a run of whole rows. To make that so, a bucket holds matrices of one row length r, and everything is a multiple of it:

    bucket of 3 shards, rows of 4:   |aaaa aaaa bbbb|bbbb bbbb bbbb|bbbb cc.. ....|
                                      shard 0        shard 1        shard 2

Vectors (norms, biases) have rows of one element and fill any bucket. Padding stands between parameters and at the end.

A rule that updates whole matrices has them kept whole: then a bucket's shards are filled with matrices of any row
length, the largest first, each into the shard that has least; what the shorter ones lack is padding.

    bucket of 2 shards, whole:       |aaaaaaaaaaaa dddd|bbbbbbbb cccccc .|
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass

from torch import nn

from steel_megatron.parallel.parameter import ParamSpec, spec_of

_FULL = 0.9  # of a bucket of whole matrices, the least share that is not padding, where more matrices can help
_ALIGNMENT = 8  # elements: 16 bytes in bf16, which the fastest matmul kernels ask for


@dataclass(frozen=True)
class Item:
    """A parameter as the plan sees it.

    ``kind``: items of different kinds (type, tied group, axes of the gradient) share no bucket. ``shards``: the ranks
    that share the work of updating it, the same for all of a kind. ``whole``: all of it is updated by one of them.
    """

    numel: int
    row_numel: int
    kind: Hashable = None
    shards: int = 1
    whole: bool = False


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


def items_of(
    parameters: Sequence[nn.Parameter], shards: Callable[[ParamSpec], int], whole: Collection[str] = ()
) -> list[Item]:
    """The parameters as the plan sees them.

    Args:
        shards: the number of ranks that share a parameter's update.
        whole: kinds of parameters that are not cut.
    """
    specs = [spec_of(parameter) for parameter in parameters]
    return [
        Item(p.numel(), spec.row_numel, (p.dtype, spec.tied, spec.data_axes), shards(spec), spec.kind in whole)
        for p, spec in zip(parameters, specs, strict=True)
    ]


def plan_buckets(items: Sequence[Item], bucket_size: int) -> list[Bucket]:
    """Distributes parameters, given in order of use in the forward pass, over buckets.

    Buckets fill from the last parameter to the first, as their gradients appear in backward, and come in the order in
    which they will be complete. A bucket is closed at ``bucket_size`` elements; an item of that size stands alone. A
    bucket of whole matrices takes more of them until its shards are about equally full.
    """
    closed: list[list[int]] = []
    filling: dict[Hashable, list[int]] = {}  # (kind, row length) → items of the open bucket
    latest: dict[Hashable, Hashable] = {}  # kind → the class of its latest matrix, where vectors go too
    for number in reversed(range(len(items))):
        item = items[number]
        if item.whole:
            members = filling.setdefault((item.kind, "whole"), [])
            members.append(number)
            if sum(items[i].numel for i in members) >= bucket_size and _is_full(members, items):
                closed.append(filling.pop((item.kind, "whole")))
            continue
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
    for members in filling.values():
        alike = [other for other in closed if items[other[0]].whole and items[other[0]].kind == items[members[0]].kind]
        if alike and items[members[0]].whole and not _is_full(members, items):
            alike[-1].extend(members)  # too few to fill the shards
        else:
            closed.append(members)
    closed.sort(key=lambda members: -members[-1])
    return [(_place_whole if items[members[0]].whole else _place)(members, items) for members in closed]


def shard_rows(bucket: Bucket, place: int, item: Item, shard: int) -> tuple[int, int]:
    """(first row, number of rows) of the bucket's ``place``-th parameter that lie in a shard."""
    offset = bucket.offsets[place]
    low = max(offset, shard * bucket.shard_numel)
    high = min(offset + item.numel, (shard + 1) * bucket.shard_numel)
    if low >= high:
        return 0, 0
    return (low - offset) // item.row_numel, (high - low) // item.row_numel


def _place(members: list[int], items: Sequence[Item]) -> Bucket:
    shards = items[members[0]].shards
    row = max(items[i].row_numel for i in members)
    unit = math.lcm(row, _ALIGNMENT) if row > 1 else _ALIGNMENT
    offsets, end = [], 0
    for i in members:
        start = _round_up(end, unit if items[i].row_numel > 1 else _ALIGNMENT)
        offsets.append(start)
        end = start + items[i].numel
    shard_numel = _round_up(-(-end // shards), unit)
    return Bucket(tuple(members), tuple(offsets), shard_numel * shards, shards)


def _place_whole(members: list[int], items: Sequence[Item]) -> Bucket:
    shards = _shares(members, items)
    shard_numel = max(sum(_aligned(items[i]) for i in shard) for shard in shards)
    offsets = {}
    for number, shard in enumerate(shards):
        end = number * shard_numel
        for i in shard:
            offsets[i] = end
            end += _aligned(items[i])
    return Bucket(tuple(members), tuple(offsets[i] for i in members), shard_numel * len(shards), len(shards))


def _shares(members: Sequence[int], items: Sequence[Item]) -> list[list[int]]:
    """Whole items by shard: the largest first, each where there is least. No shard has more than a fair share and the
    largest item (Graham, 1969)."""
    shares: list[list[int]] = [[] for _ in range(items[members[0]].shards)]
    loads = [0] * len(shares)
    for i in sorted(members, key=lambda i: (-items[i].numel, i)):
        least = loads.index(min(loads))
        shares[least].append(i)
        loads[least] += _aligned(items[i])
    return shares


def _is_full(members: Sequence[int], items: Sequence[Item]) -> bool:
    loads = [sum(items[i].numel for i in share) for share in _shares(members, items)]
    return sum(loads) >= _FULL * len(loads) * max(loads)


def _aligned(item: Item) -> int:
    return _round_up(item.numel, _ALIGNMENT)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
