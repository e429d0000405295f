"""Batches of asynchronous sends and receives between the ranks of one axis."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from steel_megatron.config import ConfigError
from steel_megatron.parallel.collectives import Pending
from steel_megatron.parallel.grid import Axis
from steel_megatron.parallel.processes import operations

Batch = Pending[None]  # messages under way


class Mailbox:
    """Posts batches, and finishes them in the order in which they were posted.

    The constructor is a collective call on the axis: NCCL demands that a group's first operation has all its ranks.
    """

    def __init__(self, axis: Axis, device: torch.device) -> None:
        self._axis = axis
        self._under_way: deque[Batch] = deque()
        if axis.size == 1:
            return
        if device.type == "cuda" and dist.get_backend(axis.group) == "gloo":
            raise ConfigError(
                "pipeline parallel on GPUs over gloo",
                rule="gloo sends and receives tensors in host memory only",
                fix="use --distributed-backend nccl or auto",
            )
        with operations.waiting("the first all-reduce", axis.name, axis.ranks):
            dist.all_reduce(torch.zeros(1, device=device), group=axis.group)

    def post(self, sends: Sequence[tuple[int, Tensor]], receives: Sequence[tuple[int, Tensor]]) -> Batch:
        """Starts (peer, tensor) messages together; tensors are contiguous, peers are ranks of the axis.

        What is sent must not be written any more; what is received is there after :meth:`wait`.
        """
        group, ranks = self._axis.group, self._axis.ranks
        messages = [dist.P2POp(dist.isend, tensor, ranks[peer], group) for peer, tensor in sends]
        messages += [dist.P2POp(dist.irecv, tensor, ranks[peer], group) for peer, tensor in receives]
        tensors = [tensor for _, tensor in (*sends, *receives)]
        peers = {ranks[self._axis.rank], *(ranks[peer] for peer, _ in (*sends, *receives))}
        operations.queued("messages of the pipeline", self._axis.name, tuple(sorted(peers)))
        batch = Batch(dist.batch_isend_irecv(messages), lambda: None, tensors)
        self._under_way.append(batch)
        return batch

    def wait(self, batch: Batch) -> None:
        """Waits for a batch and those posted before it, so that what they sent is freed.

        NCCL runs a group's batches one after the other, so there the earlier ones cost no time.
        """
        while self._under_way and batch in self._under_way:
            self._under_way.popleft().wait()

    def wait_all(self) -> None:
        """Waits for everything posted."""
        while self._under_way:
            self._under_way.popleft().wait()
