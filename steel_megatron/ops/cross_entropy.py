"""Cross entropy of next tokens in fp32, without an fp32 copy of the logits.

Shapes: T tokens, V columns of the logits (padding included).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.backends import serves
from steel_megatron.ops.chunks import row_chunks
from steel_megatron.ops.native import cross_entropy as native


def cross_entropy(
    logits_TV: Tensor,
    labels_T: Tensor,
    *,
    vocab_size: int | None = None,
    overwrite_logits: bool = False,
    z_loss: float = 0.0,
) -> Tensor:
    """fp32 loss of each token: Z - logits[label] + z_loss Z², with Z = logsumexp(logits).

    Args:
        logits_TV: any floating type.
        labels_T: int64 in [0, vocab_size).
        vocab_size: columns from here on are padding and no part of the softmax; their gradient is 0.
        overwrite_logits: the backward pass writes the gradient over the logits, for callers that own them and do not
            read them again. A second backward pass then fails with torch's error on modified tensors.
        z_loss: keeps the partition function near 1 (Chowdhery et al., 2022).
    """
    return _CrossEntropy.apply(logits_TV, labels_T, vocab_size or logits_TV.shape[1], overwrite_logits, z_loss)


def statistics(logits_TV: Tensor, labels_T: Tensor, first: int, real: int) -> tuple[Tensor, Tensor]:
    """fp32 (T,) twice: logsumexp over the first ``real`` columns, and the label's logit.

    Column c is number ``first`` + c of the vocabulary. -inf without columns; 0 where the label is not among them.
    """
    if serves("cross_entropy", logits_TV):
        return native.cross_entropy_statistics(logits_TV, labels_T, first, real)
    partition_T = torch.full((len(logits_TV),), -torch.inf, dtype=torch.float32, device=logits_TV.device)
    target_T = torch.zeros_like(partition_T)
    if real == 0:
        return partition_T, target_T
    own_T, here_T = _own_labels(labels_T, first, real)
    for rows in _rows(logits_TV):
        x = logits_TV[rows, :real].float()
        partition_T[rows] = torch.logsumexp(x, dim=1)
        target_T[rows] = x.gather(1, own_T[rows].unsqueeze(1)).squeeze(1)
    return partition_T, target_T.masked_fill_(~here_T, 0.0)


def gradient_over_logits(
    logits_TV: Tensor,
    labels_T: Tensor,
    partition_T: Tensor,
    probability_scale_T: Tensor,
    label_scale_T: Tensor,
    first: int,
    real: int,
) -> None:
    """Logits become exp(logit - partition) * probability_scale - [column is the label's] * label_scale.

    ``first`` and ``real`` as in :func:`statistics`; columns from ``real`` on become 0.
    """
    if serves("cross_entropy", logits_TV) and logits_TV.is_contiguous():
        native.cross_entropy_gradient_(
            logits_TV, labels_T, partition_T, probability_scale_T, label_scale_T, first, real
        )
        return
    if real:
        own_T, here_T = _own_labels(labels_T, first, real)
        taken_T = label_scale_T * here_T
        for rows in _rows(logits_TV):
            p = logits_TV[rows, :real].float().sub_(partition_T[rows].unsqueeze(1)).exp_()
            p.mul_(probability_scale_T[rows].unsqueeze(1))
            p.scatter_add_(1, own_T[rows].unsqueeze(1), -taken_T[rows].unsqueeze(1))
            logits_TV[rows, :real] = p
    logits_TV[:, real:] = 0


class _CrossEntropy(torch.autograd.Function):
    """Saves the logits in their own type; softmax is computed in the backward pass, rows at a time."""

    @staticmethod
    def forward(
        ctx: Any, logits_TV: Tensor, labels_T: Tensor, vocab_size: int, overwrite: bool, z_loss: float
    ) -> Tensor:
        partition_T, target_T = statistics(logits_TV, labels_T, 0, vocab_size)
        ctx.save_for_backward(logits_TV, labels_T, partition_T)
        ctx.vocab_size, ctx.overwrite, ctx.z_loss = vocab_size, overwrite, z_loss
        return losses_of(partition_T, target_T, z_loss)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits_TV, labels_T, partition_T = ctx.saved_tensors
        grad_TV = logits_TV if ctx.overwrite else logits_TV.clone()
        scale_T = probability_scale(grads[0], partition_T, ctx.z_loss)
        gradient_over_logits(grad_TV, labels_T, partition_T, scale_T, grads[0], 0, ctx.vocab_size)
        return grad_TV, None, None, None, None


def losses_of(partition_T: Tensor, target_T: Tensor, z_loss: float) -> Tensor:
    """Z - target + z_loss Z²."""
    losses_T = partition_T - target_T
    return losses_T.addcmul_(partition_T, partition_T, value=z_loss) if z_loss else losses_T


def probability_scale(grad_T: Tensor, partition_T: Tensor, z_loss: float) -> Tensor:
    """What each probability is multiplied by in the gradient of :func:`losses_of`: (1 + 2 z_loss Z) grad."""
    return grad_T * (1.0 + 2.0 * z_loss * partition_T) if z_loss else grad_T


def _own_labels(labels_T: Tensor, first: int, real: int) -> tuple[Tensor, Tensor]:
    """(The label's column, 0 where it is not here; whether it is here)."""
    own_T = labels_T - first
    here_T = (own_T >= 0) & (own_T < real)
    return own_T.masked_fill(~here_T, 0), here_T


# Rows at once on a GPU: bounds the fp32 temporaries (a 152k vocabulary takes 0.6 GB each).
_GPU_ROWS = 1024


def _rows(logits_TV: Tensor) -> list[slice]:
    tokens, width = logits_TV.shape
    if logits_TV.device.type == "cpu":
        return list(row_chunks(tokens, width // 4, logits_TV.device))
    return [slice(start, min(start + _GPU_ROWS, tokens)) for start in range(0, tokens, _GPU_ROWS)]
