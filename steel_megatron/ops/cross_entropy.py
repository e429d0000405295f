"""Cross entropy of next tokens in fp32, without an fp32 copy of the logits.

Shapes: T tokens, V columns of the logits (padding included).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.backends import fused
from steel_megatron.ops.cases import Case, Setting
from steel_megatron.ops.compiled import cross_entropy as compiled
from steel_megatron.ops.native import cross_entropy as native
from steel_megatron.ops.operations import KERNELS_OR_COMPILED, Operation, declare
from steel_megatron.ops.strips import row_strips

_FUSED = {"steel": native, "compiled": compiled}


def cross_entropy(
    logits_TV: Tensor,
    labels_T: Tensor,
    *,
    vocab_size: int | None = None,
    overwrite_logits: bool = False,
    z_loss: float = 0.0,
) -> Tensor:
    """fp32 loss of each token: the sum of both of :func:`token_losses`, for logits of the whole vocabulary.

    Args:
        vocab_size: columns from here on are padding and no part of the softmax; their gradient is 0.
    """
    columns = (0, vocab_size or logits_TV.shape[1])
    losses_T, z_losses_T = token_losses(logits_TV, labels_T, columns, overwrite_logits=overwrite_logits, z_loss=z_loss)
    return losses_T + z_losses_T


def token_losses(
    logits_TV: Tensor,
    labels_T: Tensor,
    columns: tuple[int, int],
    *,
    overwrite_logits: bool = False,
    z_loss: float = 0.0,
    join: Callable[[tuple[Tensor, Tensor]], tuple[Tensor, Tensor]] | None = None,
) -> tuple[Tensor, Tensor]:
    """fp32 (T,) twice: the cross entropy Z - logits[label] with Z = logsumexp(logits), and z_loss Z².

    Args:
        logits_TV: any floating type.
        labels_T: int64 in the vocabulary.
        columns: (first, real) as in :func:`statistics`.
        overwrite_logits: the backward pass writes the gradient over the logits, for callers that own them and do not
            read them again. A second backward pass then fails with torch's error on modified tensors.
        z_loss: keeps the partition function near 1 (Chowdhery et al., 2022).
        join: makes the statistics of the whole vocabulary of those of these columns.
    """
    return _TokenLosses.apply(logits_TV, labels_T, columns, overwrite_logits, z_loss, join)


def statistics(logits_TV: Tensor, labels_T: Tensor, first: int, real: int) -> tuple[Tensor, Tensor]:
    """fp32 (T,) twice: logsumexp over the first ``real`` columns, and the label's logit.

    Column c is number ``first`` + c of the vocabulary. -inf without columns; 0 where the label is not among them.
    """
    kernels = fused("cross_entropy", _FUSED, logits_TV)
    if kernels is not None:
        return kernels.cross_entropy_statistics(logits_TV, labels_T, first, real)
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
    kernels = fused("cross_entropy", _FUSED, logits_TV)
    if kernels is not None and logits_TV.is_contiguous():
        kernels.cross_entropy_gradient_(
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


class _TokenLosses(torch.autograd.Function):
    """Saves the logits in their own type; softmax is computed in the backward pass, rows at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        logits_TV: Tensor,
        labels_T: Tensor,
        columns: tuple[int, int],
        overwrite: bool,
        z_loss: float,
        join: Callable[[tuple[Tensor, Tensor]], tuple[Tensor, Tensor]] | None,
    ) -> tuple[Tensor, Tensor]:
        own = statistics(logits_TV, labels_T, *columns)
        partition_T, target_T = own if join is None else join(own)
        ctx.save_for_backward(logits_TV, labels_T, partition_T)
        ctx.columns, ctx.overwrite, ctx.z_loss = columns, overwrite, z_loss
        z_losses_T = z_losses(partition_T, z_loss)
        if not z_loss:
            ctx.mark_non_differentiable(z_losses_T)
        return partition_T - target_T, z_losses_T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        logits_TV, labels_T, partition_T = ctx.saved_tensors
        grad_TV = logits_TV if ctx.overwrite else logits_TV.clone()
        scale_T = probability_scale(grads[0], grads[1], partition_T, ctx.z_loss)
        gradient_over_logits(grad_TV, labels_T, partition_T, scale_T, grads[0], *ctx.columns)
        return grad_TV, None, None, None, None, None


def z_losses(partition_T: Tensor, z_loss: float) -> Tensor:
    """z_loss Z²."""
    return partition_T.square() * z_loss if z_loss else torch.zeros_like(partition_T)


def probability_scale(grad_T: Tensor, grad_z_T: Tensor, partition_T: Tensor, z_loss: float) -> Tensor:
    """What each probability is multiplied by in the gradient of the two losses: grad + 2 z_loss Z grad_z."""
    return torch.addcmul(grad_T, partition_T, grad_z_T, value=2.0 * z_loss) if z_loss else grad_T


def _own_labels(labels_T: Tensor, first: int, real: int) -> tuple[Tensor, Tensor]:
    """(The label's column, 0 where it is not here; whether it is here)."""
    own_T = labels_T - first
    here_T = (own_T >= 0) & (own_T < real)
    return own_T.masked_fill(~here_T, 0), here_T


# Elements of an fp32 temporary on a GPU: 128 MB, whatever the vocabulary.
GPU_ELEMENTS = 1 << 25


def _rows(logits_TV: Tensor) -> list[slice]:
    tokens, width = logits_TV.shape
    if logits_TV.device.type == "cpu":
        return list(row_strips(tokens, width // 4, logits_TV.device))
    step = max(GPU_ELEMENTS // max(width, 1), 1)
    return [slice(start, min(start + step, tokens)) for start in range(0, tokens, step)]


TIMED_ELEMENTS = 1 << 27  # of the logits that are timed, at most


def _case(at: Setting) -> Case:
    assert at.model.vocab_size is not None
    tokens = max(1, min(at.batch * at.length, TIMED_ELEMENTS // at.model.vocab_size))
    labels_T = torch.arange(tokens, device=at.device) % at.model.vocab_size
    logits_TV = at.random(tokens, at.model.vocab_size)
    return at.differentiable(lambda logits_TV: cross_entropy(logits_TV, labels_T), [logits_TV])


declare(
    "cross_entropy",
    Operation("cross entropy", ("steel", "compiled", "torch"), KERNELS_OR_COMPILED, price=11.0, case=_case),
)
