"""A linear layer for a few tokens on a CPU: reading the weight is most of the work.

Shapes: T tokens, I in features, O out features; W is (O, I).
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.ops.native.library import call


@torch.library.custom_op("steel::few_tokens_linear", mutates_args=())
def few_tokens_linear(x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """x Wᵀ + b, (T, O), summed in fp32 and rounded once; a token's result does not depend on the others."""
    tokens, features = x_TI.shape
    rows = len(weight_OI)
    if weight_OI.shape[1] != features or (bias_O is not None and bias_O.shape != (rows,)):
        raise ValueError(f"x {tuple(x_TI.shape)} by a weight {tuple(weight_OI.shape)}: rows of both are as long")
    given = [None if tensor is None else tensor.contiguous() for tensor in (x_TI, weight_OI, bias_O)]
    y_TO = x_TI.new_empty(tokens, rows)
    call("few_tokens_linear", x_TI, *given, y_TO, tokens, rows, features)
    return y_TO


@few_tokens_linear.register_fake
def _(x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    return x_TI.new_empty(len(x_TI), len(weight_OI))
