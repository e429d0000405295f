"""Stand-ins for torch's own CUDA kernels that a CPU build breaks up into single steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """``torch.nn.functional.rms_norm`` as a GPU runs it: a kernel forward, two backward."""
    assert weight is not None, "every norm here has a weight"
    return _RMSNorm.apply(x, weight)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        y, rstd = rms_norm_forward(x, weight)
        ctx.save_for_backward(x, weight, rstd)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, weight, rstd = ctx.saved_tensors
        return rms_norm_backward_input(grads[0], x, weight, rstd), rms_norm_backward_weight(grads[0], x, weight, rstd)


def _rows(x: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], 1, dtype=torch.float32)


@torch.library.custom_op("fake_cuda::rms_norm_forward", mutates_args=())
def rms_norm_forward(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """(y, rstd)."""
    return torch.empty_like(x), _rows(x)


@torch.library.custom_op("fake_cuda::rms_norm_backward_input", mutates_args=())
def rms_norm_backward_input(grad: Tensor, x: Tensor, weight: Tensor, rstd: Tensor) -> Tensor:
    """The gradient of x."""
    return torch.empty_like(x)


@torch.library.custom_op("fake_cuda::rms_norm_backward_weight", mutates_args=())
def rms_norm_backward_weight(grad: Tensor, x: Tensor, weight: Tensor, rstd: Tensor) -> Tensor:
    """The gradient of the weight."""
    return torch.empty_like(weight)


rms_norm_forward.register_fake(lambda x, weight: (torch.empty_like(x), _rows(x)))
rms_norm_backward_input.register_fake(lambda grad, x, weight, rstd: torch.empty_like(x))
rms_norm_backward_weight.register_fake(lambda grad, x, weight, rstd: torch.empty_like(weight))
