"""The head's matmul and the cross entropy as one operation that never holds the logits of all tokens.

Shapes: T tokens, H hidden, V this rank's rows of the head (V/R of the padded vocabulary), C tokens of a strip.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.cross_entropy import gradient_over_logits, probability_scale, statistics, z_losses
from steel_megatron.ops.matmul import input_gradient_into, linear_into
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor.cross_entropy import joined_statistics, own_columns
from steel_megatron.parallel.tensor.regions import enter_region
from steel_megatron.parallel.tensor.weight_grad import await_parameter, linear_weight_gradient, main_grad_of

# The most that the logits of a strip take. Each strip reads and writes all of the weight's gradient, 1.2 GB in fp32 for
# a vocabulary of 152,000 at width 2,048; on a CPU what counts is that the logits stay near the caches.
CHUNK_BYTES = {"cpu": 64 << 20, "cuda": 2 << 30}
GPU_MULTIPLE = 256  # tokens of a strip on a GPU: whole tiles of its matmuls


def tokens_per_strip(weight_VH: Tensor, tokens: int) -> int:
    """C: tokens of a strip of ``tokens`` in all; see :func:`strip_tokens`."""
    return strip_tokens(len(weight_VH), weight_VH.element_size(), weight_VH.device.type, tokens)


def strip_tokens(vocabulary: int, width: int, device_type: str, tokens: int) -> int:
    """C by this rank's rows of the head and the bytes of a logit: as many as fit in :data:`CHUNK_BYTES`.

    On a GPU the strips are equal to within a multiple of :data:`GPU_MULTIPLE`: a short last one would read and write
    the weight's gradient as well, for little work.
    """
    most = max(CHUNK_BYTES[device_type] // (vocabulary * width), 1)
    if device_type == "cpu" or most < GPU_MULTIPLE:
        return most
    most -= most % GPU_MULTIPLE
    share = math.ceil(tokens / math.ceil(tokens / most)) if tokens > most else most
    return math.ceil(share / GPU_MULTIPLE) * GPU_MULTIPLE


def needs_strips(weight_VH: Tensor, tokens: int) -> bool:
    """Whether the logits do not fit in one strip, and the weight's gradient can be made in the forward pass."""
    if torch.is_grad_enabled() and main_grad_of(weight_VH) is None:
        return False
    return tokens > tokens_per_strip(weight_VH, tokens)


def linear_cross_entropy(
    x: Tensor,
    weight_VH: Tensor,
    labels_T: Tensor,
    mask_T: Tensor,
    grid: Grid,
    *,
    vocab_size: int,
    loss_gradient: float,
    z_loss: float = 0.0,
    strip: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """fp32 (sum of both losses over the mask's tokens; each token's cross entropy; each token's z-loss).

    Those of the tokens are (T,), 0 outside the mask, and have no gradient.

    For each strip of C tokens, over R tensor-parallel ranks:

        logits_r = X W_rᵀ       (C, V)
        Z, t                    as in :func:`~steel_megatron.parallel.tensor.cross_entropy.vocab_parallel_cross_entropy`
        loss     = mask (Z - t),  z-loss = mask z_loss Z²
        D_r      = mask loss_gradient ((1 + 2 z_loss Z) exp(logits_r - Z) - [column is the label's]), over the logits
        dX       = D_r W_r      kept for the backward pass: T H elements
        dW_r    += D_rᵀ X       added to the gradient buffer here, in the forward pass

    The gradients are exact and cost no second matmul for the logits, but they are made before backward runs:
    ``loss_gradient`` says what it will start from, and a forward pass with gradients must be followed by one backward
    pass. Under R > 1 dX is summed where ``x`` enters the region.

    Args:
        x: (…, S, H) with T tokens in all; (…, S/R, H) under sequence parallel.
        weight_VH: has a gradient buffer (``main_grad``) if gradients are enabled.
        labels_T: int64 in [0, vocab_size).
        mask_T: bool; tokens that count.
        strip: C; :func:`tokens_per_strip` when None.
    """
    await_parameter(weight_VH)
    x_TH = enter_region(x, grid).reshape(-1, x.shape[-1])
    gradients = torch.is_grad_enabled()
    if gradients and main_grad_of(weight_VH) is None:
        raise ValueError("the weight has no gradient buffer: its gradient has nowhere to go in the forward pass")
    strip = strip or tokens_per_strip(weight_VH, len(x_TH))
    settings = (grid, vocab_size, z_loss, strip, loss_gradient if gradients else None)
    return _LinearCrossEntropy.apply(x_TH, weight_VH, labels_T, mask_T, settings)


class _LinearCrossEntropy(torch.autograd.Function):
    """Each strip goes from logits to losses to gradients in the same C × V memory, which the next one then takes."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TH: Tensor,
        weight_VH: Tensor,
        labels_T: Tensor,
        mask_T: Tensor,
        settings: tuple[Grid, int, float, int, float | None],
    ) -> tuple[Tensor, Tensor, Tensor]:
        grid, vocab_size, z_loss, strip, loss_gradient = settings
        first, real = own_columns(len(weight_VH), grid.tp, vocab_size)
        weights_T = mask_T.float()
        losses_T, z_losses_T = torch.empty_like(weights_T), torch.empty_like(weights_T)
        grad_TH = torch.empty_like(x_TH) if loss_gradient is not None else None
        # All strips write theirs here: two would be there at a time else.
        room_CV = x_TH.new_empty(min(strip, len(x_TH)), len(weight_VH))
        for start in range(0, len(x_TH), strip):
            rows = slice(start, start + strip)
            logits_CV = room_CV[: len(x_TH[rows])]
            linear_into(logits_CV, x_TH[rows], weight_VH)
            own = statistics(logits_CV, labels_T[rows], first, real)  # of this rank's columns, each (C,)
            partition_C, target_C = joined_statistics(own, grid.tp)
            losses_T[rows], z_losses_T[rows] = partition_C - target_C, z_losses(partition_C, z_loss)
            if grad_TH is None or loss_gradient is None:
                continue
            label_C = weights_T[rows] * loss_gradient  # the factor before [column is the label's]
            probability_C = probability_scale(label_C, label_C, partition_C, z_loss)  # and before exp(logits - Z)
            gradient_over_logits(logits_CV, labels_T[rows], partition_C, probability_C, label_C, first, real)
            input_gradient_into(grad_TH[rows], logits_CV, weight_VH)  # (C, V) by (V, H): dX of the strip
            linear_weight_gradient(weight_VH, logits_CV, x_TH[rows])  # (V, C) by (C, H): added to dW
        for values_T in (losses_T, z_losses_T):
            values_T.masked_fill_(~mask_T, 0.0)
        ctx.grad_TH, ctx.loss_gradient = grad_TH, loss_gradient
        ctx.mark_non_differentiable(losses_T, z_losses_T)
        return losses_T.sum() + z_losses_T.sum(), losses_T, z_losses_T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        """Hands over dX (T, H) of the forward pass; dW is in the gradient buffer already."""
        grad_TH, ctx.grad_TH = ctx.grad_TH, None
        if grad_TH is None:
            raise RuntimeError("a second backward pass: the weight's gradient was added in the forward pass, once")
        # The host does not wait to see what backward starts from: if it is something else, the gradient of the first
        # token becomes one that is not a number, and the optimizer stops.
        grad_TH[:1].masked_fill_(grads[0] != ctx.loss_gradient, torch.nan)
        return grad_TH, None, None, None, None
