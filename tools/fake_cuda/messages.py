"""Collectives and messages between ranks, as torch.distributed hands them to its backends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._pytree import tree_leaves

KINDS = {
    "allreduce": "all-reduce",
    "allgather": "all-gather",
    "_allgather_base": "all-gather",
    "reduce_scatter": "reduce-scatter",
    "_reduce_scatter_base": "reduce-scatter",
    "broadcast": "broadcast",
    "send": "send",
    "recv": "receive",
    "barrier": "barrier",
}


@dataclass(frozen=True)
class Message:
    """One call, as one rank makes it.

    ``elements``: of the whole tensor that the group shares: what is gathered, or what is reduced or scattered. ``own``:
    this rank's part of it, where there is one. ``peer``: the global rank at the other end of a send or receive.
    ``batch``: number of the batch of sends and receives that it is started with.
    """

    kind: str
    ranks: tuple[int, ...]
    dtype: torch.dtype
    elements: int
    own: int
    peer: int | None = None
    backward: bool = False
    batch: int | None = None

    @property
    def call(self) -> tuple[Any, ...]:
        """What all ranks of a collective have to agree on."""
        return self.kind, self.ranks, self.dtype, self.elements, self.own

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.itemsize

    @property
    def wire_bytes(self) -> float:
        """What this rank sends in a ring (and receives as much)."""
        n = len(self.ranks)
        share = {"all-reduce": 2 * (n - 1) / n, "all-gather": (n - 1) / n, "reduce-scatter": (n - 1) / n}
        return self.bytes * share.get(self.kind, 1.0)


def message_of(name: str, args: Any, backward: bool, batch: int | None = None) -> Message:
    """The message of a ``c10d`` operation."""
    ranks: tuple[int, ...] = ()
    for value in args:
        if isinstance(value, torch.ScriptObject) and "ProcessGroup" in str(value._type()):
            ranks = tuple(dist.get_process_group_ranks(dist.ProcessGroup.unbox(value)))
    word = name.removeprefix("c10d.").split(".")[0].rstrip("_")
    kind = KINDS.get(word, word)
    tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
    sizes = [tensor.numel() for tensor in tensors] or [0]
    dtype = tensors[0].dtype if tensors else torch.uint8
    peer = None
    if kind in ("send", "receive"):
        number = next(value for value in args if isinstance(value, int) and not isinstance(value, bool))
        peer = ranks[number]
    whole = max(sizes) if len(tensors) < 3 else sum(sizes) - sizes[-1]
    return Message(kind, ranks, dtype, whole, min(sizes), peer, backward, batch if peer is not None else None)


def objects_message(group: dist.ProcessGroup | None) -> Message:
    """The message of a gathering of Python objects, whose size nobody knows before."""
    return Message("all-gather of objects", tuple(dist.get_process_group_ranks(group)), torch.uint8, 0, 0)
