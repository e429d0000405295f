"""Cross entropy over logits of which each tp rank holds a range of the vocabulary; they are never gathered.

Shapes: T tokens, V this rank's columns of the logits (V/R of the padded vocabulary), R tp ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.chunks import row_chunks
from steel_megatron.ops.cross_entropy import cross_entropy
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
        tokens, columns = logits_TV.shape
        first = axis.rank * columns
        real = min(max(vocab_size - first, 0), columns)  # a last rank may hold nothing but padding
        own_T = labels_T - first
        here_T = (own_T >= 0) & (own_T < real)
        own_T = own_T.masked_fill(~here_T, 0)
        sums_2T = torch.zeros(2, tokens, dtype=torch.float32, device=logits_TV.device)
        if real:
            for rows in _rows(logits_TV):
                x = logits_TV[rows, :real].float()
                sums_2T[0, rows] = torch.logsumexp(x, dim=1)
                sums_2T[1, rows] = x.gather(1, own_T[rows].unsqueeze(1)).squeeze(1)
            sums_2T[1].masked_fill_(~here_T, 0.0)
        else:
            sums_2T[0].fill_(-torch.inf)
        sums_R2T = collectives.all_gather(sums_2T.unsqueeze(0), axis, 0).wait()
        partition_T = torch.logsumexp(sums_R2T[:, 0], dim=0)
        ctx.save_for_backward(logits_TV, partition_T, own_T, here_T)
        ctx.real, ctx.overwrite = real, overwrite
        return partition_T - sums_R2T[:, 1].sum(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits_TV, partition_T, own_T, here_T = ctx.saved_tensors
        grad_TV = logits_TV if ctx.overwrite else torch.empty_like(logits_TV)
        if ctx.real:
            for rows in _rows(logits_TV):
                p = logits_TV[rows, : ctx.real].float()
                p.sub_(partition_T[rows].unsqueeze(1)).exp_()
                p.scatter_add_(1, own_T[rows].unsqueeze(1), -here_T[rows].unsqueeze(1).to(p.dtype))
                grad_TV[rows, : ctx.real] = p.mul_(grads[0][rows].unsqueeze(1))
        grad_TV[:, ctx.real :] = 0
        return grad_TV, None, None, None, None


# Rows at once on a GPU: bounds the fp32 temporaries.
_GPU_ROWS = 1024


def _rows(logits_TV: Tensor) -> Iterator[slice]:
    tokens, columns = logits_TV.shape
    if logits_TV.device.type == "cpu":
        yield from row_chunks(tokens, columns // 4, logits_TV.device)
    else:
        yield from (slice(start, min(start + _GPU_ROWS, tokens)) for start in range(0, tokens, _GPU_ROWS))
