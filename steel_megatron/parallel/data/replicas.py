"""Gradients of parameters that several ranks hold and of which each computed a part.

Over tensor parallel there are two kinds: norms and biases that saw a slice of the sequence (their spec is
``summed_over`` tp too), and the key and value heads that several ranks share because there are fewer of them than
ranks (``replicas`` in the piece). Over the pipeline there is one: the tied embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from steel_megatron.parallel import collectives
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import row_slices, spec_of


class GradRows(Protocol):
    """A run of rows of a parameter's gradient."""

    @property
    def parameter(self) -> nn.Parameter: ...
    @property
    def first_row(self) -> int: ...
    @property
    def grad_rows(self) -> Tensor: ...


def sum_over_ends(shards: Sequence[GradRows], grid: Grid) -> None:
    """Adds the tied embedding's gradients of the first and the last pipeline stage, in place.

    Both have the tensor and update their copy with the same sum, so the copies stay equal to the bit. It comes after
    the reduction over data parallel: a tied tensor has buckets of its own, cut in the same way on both stages, so each
    sharded row meets its counterpart.
    """
    if grid.ends.size == 1:
        return
    for shard in shards:
        if spec_of(shard.parameter).tied is not None:
            total = collectives.all_reduce(shard.grad_rows.contiguous(), grid.ends).wait()
            if total is not shard.grad_rows:
                shard.grad_rows.copy_(total)


def sum_over_tensor_parallel(shards: Sequence[GradRows], grid: Grid) -> None:
    """Adds up the parts in place, all in one all-reduce; every tp rank holds the same rows of each parameter.

    With H heads over R > H ranks, rank r holds head h = r H / R. The message has room for all H heads of such a piece:
    each rank adds its part at place h and takes the sum from there, so no group beside tp is needed.
    """
    if grid.tp.size == 1:
        return
    parts: list[tuple[Tensor, int, int]] = []  # gradient rows, place, places
    for shard in shards:
        if "tp" in spec_of(shard.parameter).summed_over:
            parts.append((shard.grad_rows, 0, 1))
            continue
        for piece, block in row_slices(shard.parameter, shard.first_row, shard.grad_rows):
            if piece.replicas > 1:
                parts.append((block.tensor, grid.tp.rank // piece.replicas, grid.tp.size // piece.replicas))
    if not parts:
        return
    sizes = [part.numel() * places for part, _, places in parts]
    message = torch.zeros(sum(sizes), dtype=parts[0][0].dtype, device=parts[0][0].device)
    views = [room.view(places, -1)[place] for room, (_, place, places) in zip(message.split(sizes), parts, strict=True)]
    for view, (part, _, _) in zip(views, parts, strict=True):
        view.copy_(part.reshape(-1))
    collectives.all_reduce(message, grid.tp).wait()
    for view, (part, _, _) in zip(views, parts, strict=True):
        part.copy_(view.view(part.shape))
