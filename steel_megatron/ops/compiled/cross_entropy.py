"""Cross entropy on logits, as in :mod:`steel_megatron.ops.native.cross_entropy`: no fp32 copy of the logits is made.

Shapes: T tokens, V columns of the logits of this rank, of which column c is number first + c of the vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.ops.compiled.compiler import fused
from steel_megatron.ops.formulas import register_cross_entropy, row_statistics


@fused
def _statistics(logits_TV: Tensor, labels_T: Tensor, first: int, real: int) -> tuple[Tensor, Tensor]:
    x = logits_TV[:, :real].float()
    here = labels_T.unsqueeze(1) - first == torch.arange(real, device=x.device)
    return torch.logsumexp(x, dim=1), torch.where(here, x, 0.0).sum(1)


@torch.library.custom_op("steel_compiled::cross_entropy_statistics", mutates_args=())
def cross_entropy_statistics(logits_TV: Tensor, labels_T: Tensor, first: int, real: int) -> tuple[Tensor, Tensor]:
    """fp32 (logsumexp of the first ``real`` columns, logit of the label or 0 where it is not among them)."""
    if real == 0:
        nothing = row_statistics(logits_TV)
        return torch.full_like(nothing, -torch.inf), torch.zeros_like(nothing)
    return _statistics(logits_TV, labels_T, first, real)


@torch.library.custom_op("steel_compiled::cross_entropy_gradient_", mutates_args=("logits_TV",))
@fused
def cross_entropy_gradient_(
    logits_TV: Tensor,
    labels_T: Tensor,
    partition_T: Tensor,
    probability_scale_T: Tensor,
    label_scale_T: Tensor,
    first: int,
    real: int,
) -> None:
    """Logits become exp(logit - partition) * probability_scale - [column is the label] * label_scale; padding 0."""
    column = torch.arange(logits_TV.shape[1], device=logits_TV.device)
    p = torch.exp(logits_TV.float() - partition_T.unsqueeze(1)) * probability_scale_T.unsqueeze(1)
    p = torch.where(labels_T.unsqueeze(1) - first == column, p - label_scale_T.unsqueeze(1), p)
    logits_TV.copy_(torch.where(column < real, p, 0.0))


register_cross_entropy(cross_entropy_statistics, cross_entropy_gradient_)
