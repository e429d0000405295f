"""Cross entropy over logits of which each tp rank holds a range of the vocabulary; they are never gathered.

Shapes: T tokens, V this rank's columns of the logits (V/R of the padded vocabulary), R tp ranks.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from steel_megatron.ops.cross_entropy import token_losses
from steel_megatron.parallel import collectives
from steel_megatron.parallel.grid import Axis, Grid


def vocab_parallel_cross_entropy(
    logits_TV: Tensor,
    labels_T: Tensor,
    grid: Grid,
    *,
    vocab_size: int,
    overwrite_logits: bool = False,
    z_loss: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """fp32 cross entropy and z-loss of each token, (T,) each, the same on every tp rank.

    Rank r holds columns [r V, (r+1) V) of the padded vocabulary; those from ``vocab_size`` on are padding and not in
    the softmax:

        forward   z_r = logsumexp of the rank's own columns, t_r = the label's logit if it is here, else 0
                  all-gather of (z_r, t_r): 2 T floats per rank
                  Z = logsumexp_r z_r,  loss = Z - Σ_r t_r,  z-loss = z_loss Z²
        backward  dlogits_r = (dloss + 2 z_loss Z dz) exp(logits_r - Z) - [label is this column] dloss
                  nothing is communicated

    Saved: the logits in their own type, Z, and the labels. fp32 temporaries cover a few rows at a time.

    Args:
        labels_T: int64 in [0, vocab_size), the same on every tp rank.
        overwrite_logits: the backward pass writes the gradient over the logits, for callers that own them and do not
            read them again.
        z_loss: its coefficient.
    """
    return token_losses(
        logits_TV,
        labels_T,
        own_columns(logits_TV.shape[1], grid.tp, vocab_size),
        overwrite_logits=overwrite_logits,
        z_loss=z_loss,
        join=functools.partial(joined_statistics, axis=grid.tp),
    )


def own_columns(columns: int, axis: Axis, vocab_size: int) -> tuple[int, int]:
    """(First, count) of this rank's real columns; a last rank may hold nothing but padding."""
    first = axis.rank * columns
    return first, min(max(vocab_size - first, 0), columns)


def joined_statistics(own: tuple[Tensor, Tensor], axis: Axis) -> tuple[Tensor, Tensor]:
    """Partition and target (T,) of the whole vocabulary from each rank's."""
    if axis.size == 1:
        return own
    sums_R2T = collectives.all_gather(torch.stack(own).unsqueeze(0), axis, 0).wait()
    return torch.logsumexp(sums_R2T[:, 0], dim=0), sums_R2T[:, 1].sum(0)
