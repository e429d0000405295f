"""SwiGLU with its SiLU computed again in the backward pass: only the input is saved.

Shapes: gate_up (…, 2F) holds the gate's F channels, then the up projection's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.native.library import call


@torch.library.custom_op("steel::swiglu", mutates_args=())
def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up, (…, F)."""
    gate_up = gate_up.contiguous()
    y = gate_up.new_empty(_shape(gate_up))
    call("swiglu_forward", gate_up, gate_up, y, math.prod(y.shape[:-1]), y.shape[-1])
    return y


@torch.library.custom_op("steel::swiglu_backward", mutates_args=())
def swiglu_backward(grad: Tensor, gate_up: Tensor) -> Tensor:
    """The gradient of ``gate_up``."""
    grad, gate_up = grad.contiguous(), gate_up.contiguous()
    result = torch.empty_like(gate_up)
    call("swiglu_backward", gate_up, grad, gate_up, result, math.prod(grad.shape[:-1]), grad.shape[-1])
    return result


def _shape(gate_up: Tensor) -> list[int]:
    if gate_up.shape[-1] % 2:
        raise ValueError(f"gate and up have {gate_up.shape[-1]} channels together: it must be an even number")
    return [*gate_up.shape[:-1], gate_up.shape[-1] // 2]


@swiglu.register_fake
def _(gate_up: Tensor) -> Tensor:
    return gate_up.new_empty(_shape(gate_up))


@swiglu_backward.register_fake
def _(grad: Tensor, gate_up: Tensor) -> Tensor:
    return gate_up.new_empty(gate_up.shape)


def _keep(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> Tensor:
    return swiglu_backward(grad, *ctx.saved_tensors)


swiglu.register_autograd(_backward, setup_context=_keep)
