"""Loss and tokens of each source of the data.

B samples of a micro-batch, S tokens of a sample, K sources.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from steel_megatron.samples.batches import Batch, BatchReader


class SourceSums:
    """Sums that stay on the device: nothing here waits for it, and the order of addition is fixed.

    ``sums_2K``: fp64, the summed cross entropy of each source's samples, and below it the count of tokens in that sum.
    ``z_loss``: fp64, the summed z-loss of all samples.
    """

    def __init__(self, sources: int, device: torch.device) -> None:
        self.numbers_K = torch.arange(sources, device=device)
        self.z_loss = torch.zeros((), dtype=torch.float64, device=device)
        self.sums_2K = torch.zeros(2, sources, dtype=torch.float64, device=device)

    def add(self, losses_2B: Tensor, batch: Batch) -> None:
        """Adds the summed cross entropies, and below them the z-losses, of a micro-batch's samples."""
        self.z_loss += losses_2B[1].double().sum()
        values_2B = torch.stack([losses_2B[0].double(), batch.loss_mask_BS.sum(1).double()])
        chosen_BK = batch.source_ids_B.unsqueeze(1) == self.numbers_K
        # Not a product with 0 and 1: a loss that is not finite stays with its source.
        self.sums_2K += values_2B.unsqueeze(2).where(chosen_BK, 0.0).sum(1)


def source_losses(sums: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    """Mean loss per token of each source that had a token.

    Args:
        sums: K summed losses and K counts, as :class:`SourceSums` has them, over all ranks.
        names: of the K sources.
    """
    losses, counts = sums[: len(names)], sums[len(names) :]
    return {name: loss / count for name, loss, count in zip(names, losses, counts, strict=True) if count}


def source_tokens(reader: BatchReader, samples: int, seq_length: int) -> dict[str, int]:
    """Tokens that each source has given to the first ``samples`` samples of the run: arithmetic, nothing is counted."""
    return {name: count * seq_length for name, count in reader.counts(samples).items()}
