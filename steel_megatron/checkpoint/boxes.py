"""Rectangles of named tensors: made disjoint, cut small, and shared out among the ranks that hold them.

Arithmetic only. It answers, before a save, which rank writes which elements, so that each is written once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle of a tensor: its first element and its shape, one number per dimension."""

    offset: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    def overlaps(self, other: Box) -> bool:
        """Whether the two share an element."""
        return all(
            mine < start + size and start < mine + length
            for mine, length, start, size in zip(self.offset, self.shape, other.offset, other.shape, strict=True)
        )

    def contains(self, other: Box) -> bool:
        """Whether all of the other's elements are in this one."""
        return all(
            mine <= start and start + size <= mine + length
            for mine, length, start, size in zip(self.offset, self.shape, other.offset, other.shape, strict=True)
        )

    def part(self, dim: int, start: int, end: int) -> Box:
        """The elements with an index from ``start`` to ``end`` (of the whole tensor) along one dimension."""
        offset = (*self.offset[:dim], start, *self.offset[dim + 1 :])
        return Box(offset, (*self.shape[:dim], end - start, *self.shape[dim + 1 :]))


def minus(box: Box, hole: Box) -> list[Box]:
    """The elements of a box that are not in the hole, as disjoint boxes."""
    if not box.overlaps(hole):
        return [box]
    rest = []
    for dim, (start, size) in enumerate(zip(hole.offset, hole.shape, strict=True)):
        first, end = box.offset[dim], box.offset[dim] + box.shape[dim]
        if first < start:
            rest.append(box.part(dim, first, start))
        if start + size < end:
            rest.append(box.part(dim, start + size, end))
        box = box.part(dim, max(first, start), min(end, start + size))
    return rest


def disjoint(boxes: Iterable[Box]) -> Iterator[tuple[Box, Box]]:
    """Pairs of a box and a part of it; the parts cover what the boxes cover, each element once."""
    active: list[Box] = []  # accepted parts that reach rows still to come
    for box in sorted(boxes, key=lambda box: (box.offset, [-size for size in box.shape])):
        active = [part for part in active if not part.offset or part.offset[0] + part.shape[0] > box.offset[0]]
        parts = [box]
        for taken in list(active):
            parts = [rest for part in parts for rest in minus(part, taken)]
        for part in parts:
            active.append(part)
            yield box, part


def cut(box: Box, most: int) -> Iterator[Box]:
    """Runs of rows of a box with at most ``most`` elements each (one row, if a row alone has more)."""
    if box.numel <= most or not box.shape:
        yield box
        return
    rows = max(1, most // math.prod(box.shape[1:]))
    end = box.offset[0] + box.shape[0]
    for start in range(box.offset[0], end, rows):
        yield box.part(0, start, min(start + rows, end))


def share_out(
    held: Sequence[Mapping[str, Sequence[Box]]],
    shapes: Mapping[str, tuple[int, ...]],
    item_sizes: Mapping[str, int],
    most_bytes: int,
) -> list[list[tuple[str, Box]]]:
    """What each rank writes, so that every element is written once and the ranks have about the same to write.

    Args:
        held: by rank, the boxes it holds of each tensor. They may overlap, on one rank and between ranks.
        shapes: of the whole tensors.
        item_sizes: bytes of one element.
        most_bytes: boxes are cut between rows until they are no larger.

    Raises:
        ValueError: the boxes of a tensor reach beyond its shape, or together do not cover it.
    """
    holders: dict[str, dict[Box, list[int]]] = {}
    for rank, boxes_by_name in enumerate(held):
        for name, boxes in boxes_by_name.items():
            for box in dict.fromkeys(boxes):
                holders.setdefault(name, {}).setdefault(box, []).append(rank)
    pieces: list[tuple[int, str, Box, list[int]]] = []
    for name, ranks_by_box in holders.items():
        whole = Box((0,) * len(shapes[name]), shapes[name])
        outside = [box for box in ranks_by_box if len(box.offset) != len(whole.shape) or not whole.contains(box)]
        if outside:
            raise ValueError(f"{name} of shape {whole.shape} has a block {outside[0]} outside of it")
        parts = list(disjoint(ranks_by_box))
        covered = sum(part.numel for _, part in parts)
        if covered != whole.numel:
            raise ValueError(f"{name} of shape {whole.shape}: the ranks hold {covered} of its {whole.numel} elements")
        for box, part in parts:
            for piece in cut(part, most_bytes // item_sizes[name]):
                pieces.append((piece.numel * item_sizes[name], name, piece, ranks_by_box[box]))
    shares: list[list[tuple[str, Box]]] = [[] for _ in held]
    load = [0] * len(held)
    # First what has no choice, then the largest to the rank that has least.
    for size, name, piece, ranks in sorted(pieces, key=lambda item: (len(item[3]) > 1, -item[0], item[1], item[2])):
        rank = min(ranks, key=lambda rank: (load[rank], rank))
        load[rank] += size
        shares[rank].append((name, piece))
    return [sorted(share) for share in shares]
