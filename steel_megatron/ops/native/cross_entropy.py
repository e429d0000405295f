"""Cross entropy on logits: the statistics of each row in one operation, its gradient over the logits in another.

Shapes: T tokens, V columns of the logits of this rank, of which column c is number first + c of the vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.ops.formulas import register_cross_entropy, row_statistics
from steel_megatron.ops.native.library import call


@torch.library.custom_op("steel::cross_entropy_statistics", mutates_args=())
def cross_entropy_statistics(logits_TV: Tensor, labels_T: Tensor, first: int, real: int) -> tuple[Tensor, Tensor]:
    """fp32 (logsumexp of the first ``real`` columns, logit of the label or 0 where it is not among them)."""
    logits_TV, labels_T = logits_TV.contiguous(), _labels(labels_T)
    partition_T, target_T = row_statistics(logits_TV), row_statistics(logits_TV)
    call("cross_entropy_forward", logits_TV, logits_TV, labels_T, partition_T, target_T, *logits_TV.shape, first, real)
    return partition_T, target_T


@torch.library.custom_op("steel::cross_entropy_gradient_", mutates_args=("logits_TV",))
def cross_entropy_gradient_(
    logits_TV: Tensor,
    labels_T: Tensor,
    partition_T: Tensor,
    probability_scale_T: Tensor,
    label_scale_T: Tensor,
    first: int,
    real: int,
) -> None:
    """Logits become exp(logit - partition) * probability_scale - [column is the label's] * label_scale; padding 0."""
    columns = (_labels(labels_T), *(t.contiguous() for t in (partition_T, probability_scale_T, label_scale_T)))
    call("cross_entropy_backward", logits_TV, logits_TV, *columns, *logits_TV.shape, first, real)


def _labels(labels_T: Tensor) -> Tensor:
    if labels_T.dtype != torch.int64:
        raise ValueError(f"labels are {labels_T.dtype}: they must be int64")
    return labels_T.contiguous()


register_cross_entropy(cross_entropy_statistics, cross_entropy_gradient_)
