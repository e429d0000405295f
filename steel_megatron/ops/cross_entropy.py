"""Cross entropy of next tokens in fp32, without an fp32 copy of the logits.

Shapes: T tokens, V columns of the logits (padding included).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.chunks import row_chunks


def cross_entropy(
    logits_TV: Tensor, labels_T: Tensor, *, vocab_size: int | None = None, overwrite_logits: bool = False
) -> Tensor:
    """fp32 loss of each token: logsumexp(logits) - logits[label].

    Args:
        logits_TV: any floating type.
        labels_T: int64 in [0, vocab_size).
        vocab_size: columns from here on are padding and no part of the softmax; their gradient is 0.
        overwrite_logits: the backward pass writes the gradient over the logits, for callers that own them and do not
            read them again. A second backward pass then fails with torch's error on modified tensors.
    """
    return _CrossEntropy.apply(logits_TV, labels_T, vocab_size or logits_TV.shape[1], overwrite_logits)


class _CrossEntropy(torch.autograd.Function):
    """Saves the logits in their own type; softmax is computed in the backward pass, rows at a time."""

    @staticmethod
    def forward(ctx: Any, logits_TV: Tensor, labels_T: Tensor, vocab_size: int, overwrite: bool) -> Tensor:
        ctx.save_for_backward(logits_TV, labels_T)
        ctx.vocab_size, ctx.overwrite = vocab_size, overwrite
        losses_T = torch.empty(len(logits_TV), dtype=torch.float32, device=logits_TV.device)
        for rows in _rows(logits_TV):
            log_probabilities = torch.log_softmax(logits_TV[rows, :vocab_size], dim=-1, dtype=torch.float32)
            losses_T[rows] = log_probabilities.gather(1, labels_T[rows].unsqueeze(1)).squeeze(1)
        return losses_T.neg_()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        logits_TV, labels_T = ctx.saved_tensors
        grad_TV = logits_TV if ctx.overwrite else torch.empty_like(logits_TV)
        for rows in _rows(logits_TV):
            probabilities = torch.softmax(logits_TV[rows, : ctx.vocab_size], dim=-1, dtype=torch.float32)
            probabilities.scatter_add_(1, labels_T[rows].unsqueeze(1), torch.full_like(probabilities[:, :1], -1.0))
            grad_TV[rows, : ctx.vocab_size] = probabilities.mul_(grads[0][rows].unsqueeze(1))
        grad_TV[:, ctx.vocab_size :] = 0
        return grad_TV, None, None, None


# Rows at once on a GPU: bounds the fp32 temporaries (a 152k vocabulary takes 0.6 GB each).
_GPU_ROWS = 1024


def _rows(logits_TV: Tensor) -> list[slice]:
    tokens, width = logits_TV.shape
    if logits_TV.device.type == "cpu":
        return list(row_chunks(tokens, width // 4, logits_TV.device))
    return [slice(start, min(start + _GPU_ROWS, tokens)) for start in range(0, tokens, _GPU_ROWS)]
