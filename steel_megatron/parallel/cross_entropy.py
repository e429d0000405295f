"""Cross entropy over logits of which each tp rank holds a range of the vocabulary; they are never gathered.

Shapes: T tokens, V this rank's columns of the logits (V/R of the padded vocabulary), R tp ranks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.cross_entropy import cross_entropy, gradient_over_logits, statistics
from steel_megatron.parallel import collectives
from steel_megatron.parallel.mesh import Axis, Mesh


def vocab_parallel_cross_entropy(
    logits_TV: Tensor, labels_T: Tensor, mesh: Mesh, *, vocab_size: int, overwrite_logits: bool = False
) -> Tensor:
    """fp32 loss of each token, (T,), the same on every tp rank.

    Rank r holds columns [r V, (r+1) V) of the padded vocabulary; those from ``vocab_size`` on are padding and not in
    the softmax:

        forward   z_r = logsumexp of the rank's own columns, t_r = the label's logit if it is here, else 0
                  all-gather of (z_r, t_r): 2 T floats per rank
                  Z = logsumexp_r z_r,  loss = Z - Σ_r t_r
        backward  dlogits_r = (exp(logits_r - Z) - [label is this column]) dloss; nothing is communicated

    Saved: the logits in their own type, Z, and the labels. fp32 temporaries cover a few rows at a time. At R = 1 this
    is :func:`steel_megatron.ops.cross_entropy.cross_entropy`.

    Args:
        labels_T: int64 in [0, vocab_size), the same on every tp rank.
        overwrite_logits: the backward pass writes the gradient over the logits, for callers that own them and do not
            read them again.
    """
    if mesh.tp.size == 1:
        return cross_entropy(logits_TV, labels_T, vocab_size=vocab_size, overwrite_logits=overwrite_logits)
    return _VocabParallelCrossEntropy.apply(logits_TV, labels_T, mesh.tp, vocab_size, overwrite_logits)


class _VocabParallelCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_TV: Tensor, labels_T: Tensor, axis: Axis, vocab_size: int, overwrite: bool) -> Tensor:
        first, real = own_columns(logits_TV.shape[1], axis, vocab_size)
        partition_T, target_T = joined_statistics(statistics(logits_TV, labels_T, first, real), axis)
        ctx.save_for_backward(logits_TV, labels_T, partition_T)
        ctx.columns, ctx.overwrite = (first, real), overwrite
        return partition_T - target_T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits_TV, labels_T, partition_T = ctx.saved_tensors
        grad_TV = logits_TV if ctx.overwrite else logits_TV.clone()
        gradient_over_logits(grad_TV, labels_T, partition_T, grads[0], grads[0], *ctx.columns)
        return grad_TV, None, None, None, None


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
