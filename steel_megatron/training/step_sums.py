"""The sums of a step: numbers with a name, which stay on the device, travel over the ranks as one tensor, and are read
as one.

To add a field: declare it in :class:`StepSums`, add to it where its number is computed (:meth:`StepSums.add`, for what
a micro-batch's samples cost), and say in :meth:`StepSums.metrics` what users see of it.

B samples of a micro-batch, K sources of the data, N numbers of all fields together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import accumulate
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from steel_megatron.parallel.collectives import all_reduce
from steel_megatron.parallel.grid import Grid

Number = TypeVar("Number")  # on the device a tensor (), read a float
Numbers = TypeVar("Numbers")  # on the device a tensor (K,), read a list of float


def last_stage(grid: Grid) -> bool:
    """Counts one rank of those that compute the same loss."""
    return grid.tp.rank == 0 and grid.pp.rank == grid.pp.size - 1


def every_rank(_: Grid) -> bool:
    return True


def summed(over: Callable[[Grid], bool] = last_stage, each: str = "") -> dict[str, Any]:
    """What is declared of a field.

    Args:
        over: whether a rank's number counts in the sum over all ranks.
        each: what there is a number for each of; :meth:`StepSums.zeros` is told how many that are. Unset: one number.
    """
    return {"over": over, "each": each}


class Samples(NamedTuple):
    """What the samples of a micro-batch cost; on the device, without gradients."""

    losses_2B: Tensor  # fp32, their summed cross entropies, and below them their z-losses
    tokens_B: Tensor  # int64, how many tokens are in the sums
    sources_B: Tensor  # int64, number of the source that each is of


@dataclass
class StepSums(Generic[Number, Numbers]):
    """What a rank adds up over its micro-batches, and after :meth:`reduced` the sums over all ranks.

    fp64 on the device. Only :func:`read_sums` waits for it, and the order of addition is fixed.
    """

    loss: Number = field(metadata=summed())  # cross entropy
    loss_tokens: Number = field(metadata=summed())  # count of the tokens in it
    z_loss: Number = field(metadata=summed())
    source_loss: Numbers = field(metadata=summed(each="sources"))
    source_loss_tokens: Numbers = field(metadata=summed(each="sources"))
    seconds: Number = field(metadata=summed(every_rank))  # of a step, a rank's share in the mean of all ranks
    grad_norm: Number = field(metadata=summed())  # the same on all ranks, set after the reduction

    @classmethod
    def zeros(cls, device: torch.device, **counts: int) -> DeviceSums:
        """Before the first micro-batch; ``counts`` go by the names that ``each`` gives."""
        lengths = [counts[own.metadata["each"]] if own.metadata["each"] else 1 for own in fields(cls)]
        return cls._of(torch.zeros(sum(lengths), dtype=torch.float64, device=device), lengths)

    def add(self: DeviceSums, samples: Samples) -> None:
        """Adds a micro-batch.

        ``loss`` is not among it: the engine sums what the micro-batches' backward passes start from.
        """
        losses_2B, tokens_B, sources_B = samples
        values_2B = torch.stack([losses_2B[0].double(), tokens_B.double()])
        self.loss_tokens += values_2B[1].sum()
        self.z_loss += losses_2B[1].double().sum()
        chosen_BK = sources_B.unsqueeze(1) == torch.arange(len(self.source_loss), device=losses_2B.device)
        # Not a product with 0 and 1: a loss that is not finite stays with its source.
        loss_K, tokens_K = values_2B.unsqueeze(2).where(chosen_BK, 0.0).sum(1)
        self.source_loss += loss_K
        self.source_loss_tokens += tokens_K

    def reduced(self: DeviceSums, grid: Grid) -> DeviceSums:
        """The sums over all ranks, by one all-reduce of fp64 (N,)."""
        own = [value if declared["over"](grid) else torch.zeros_like(value) for value, declared in self._declared()]
        return self.like_this(all_reduce(torch.cat(own), grid.world).wait())

    def plus(self: DeviceSums, other: DeviceSums) -> DeviceSums:
        """The sums of both."""
        return self.like_this(self.packed() + other.packed())

    def packed(self: DeviceSums) -> Tensor:
        """fp64 (N,): the fields in the order in which they are declared."""
        return torch.cat([value for value, _ in self._declared()])

    def metrics(self: HostSums, sources: Sequence[str]) -> dict[str, Any]:
        """What a row of ``metrics.jsonl`` says of the step, by the names there; ``sources`` are those of the K."""
        by_source = zip(sources, self.source_loss, self.source_loss_tokens, strict=True)
        return {
            "loss": self.loss / max(self.loss_tokens, 1.0),
            "grad_norm": self.grad_norm,
            "loss_tokens": int(self.loss_tokens),
            "source_loss": {name: loss / tokens for name, loss, tokens in by_source if tokens},
            "z_loss": self.z_loss / max(self.loss_tokens, 1.0),
        }

    def like_this(self: DeviceSums, numbers_N: Any) -> StepSums[Any, Any]:
        """The fields of a packed tensor, as views, or of what was read of it, a list."""
        return self._of(numbers_N, [len(value) for value, _ in self._declared()])

    def _declared(self: DeviceSums) -> list[tuple[Tensor, Mapping[str, Any]]]:
        """Each field as a tensor (1,) or (K,), and what is declared of it."""
        return [(getattr(self, own.name).view(-1), own.metadata) for own in fields(self)]

    @classmethod
    def _of(cls, numbers_N: Any, lengths: Sequence[int]) -> StepSums[Any, Any]:
        parts = (numbers_N[end - length : end] for length, end in zip(lengths, accumulate(lengths), strict=True))
        declared = zip(fields(cls), parts, strict=True)
        return cls(**{own.name: part if own.metadata["each"] else part[0] for own, part in declared})


DeviceSums = StepSums[Tensor, Tensor]
HostSums = StepSums[float, list[float]]


def read_sums(steps: Sequence[DeviceSums]) -> list[HostSums]:
    """The numbers of many steps; waits for the device, once."""
    rows = torch.stack([sums.packed() for sums in steps]).tolist()
    return [sums.like_this(row) for sums, row in zip(steps, rows, strict=True)]
