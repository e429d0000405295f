"""Weight gradients that go straight into the gradient buffer.

A parameter with ``main_grad`` (a view of the data-parallel buffer, usually fp32) gets ``main_grad += dW`` here and no
``.grad``: no temporary of the weight's size is kept, and micro-batches add up in fp32.

Shapes: T tokens, I in features, O out features, V vocabulary, H hidden.
"""

from __future__ import annotations

import functools
import logging
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor

from steel_megatron.ops.cpu_products import in_fp32
from steel_megatron.ops.embedding import add_rows
from steel_megatron.ops.matmul import add_weight_gradient, weight_gradient
from steel_megatron.ops.strips import row_strips

log = logging.getLogger(__name__)


def main_grad_of(parameter: Tensor) -> Tensor | None:
    """The parameter's view of the gradient buffer; None before data parallel has taken it over."""
    return cast("Tensor | None", getattr(parameter, "main_grad", None))


def await_parameter(parameter: Tensor) -> None:
    """Waits until the parameter's values have been gathered after the last optimizer step."""
    ready = getattr(parameter, "await_gather", None)
    if ready is not None:
        ready()


def linear_weight_gradient(weight: Tensor, grad_TO: Tensor, x_TI: Tensor) -> Tensor | None:
    """dW = gradᵀ x. Added to ``main_grad`` (then None), else returned for autograd."""
    main_grad = main_grad_of(weight)
    if main_grad is None:
        return weight_gradient(grad_TO, x_TI)
    if in_fp32(grad_TO):
        add_weight_gradient(main_grad, grad_TO, x_TI)
    elif main_grad.dtype == grad_TO.dtype:
        main_grad.addmm_(grad_TO.t(), x_TI)
    elif grad_TO.is_cuda and main_grad.dtype == torch.float32 and _fp32_accumulation(grad_TO.dtype, grad_TO.device):
        torch.addmm(main_grad, grad_TO.t(), x_TI, out_dtype=torch.float32, out=main_grad)
    else:
        product = grad_TO.t() @ x_TI
        # torch casts what it adds to a tensor first: parts of it, so that no fp32 copy of the whole is made.
        for rows in row_strips(len(product), product.shape[1] // 8, product.device):
            main_grad[rows].add_(product[rows])
    return None


def bias_gradient(bias: Tensor, grad_TO: Tensor) -> Tensor | None:
    """db = Σ_T grad, like :func:`linear_weight_gradient`."""
    main_grad = main_grad_of(bias)
    if main_grad is None:
        return grad_TO.sum(0)
    # A CPU casts what it sums: parts of it, so that no fp32 copy of the whole is made.
    for rows in row_strips(len(grad_TO), grad_TO.shape[1], grad_TO.device):
        main_grad.add_(grad_TO[rows].sum(0, dtype=main_grad.dtype))
    return None


def embedding_weight_gradient(weight: Tensor, grad_TH: Tensor, ids_T: Tensor) -> Tensor | None:
    """dW[ids] += grad, touching only the rows that were looked up; ids outside the table count nowhere."""
    main_grad = main_grad_of(weight)
    target = torch.zeros_like(weight, dtype=torch.float32) if main_grad is None else main_grad
    add_rows(target, grad_TH, ids_T)
    return target.to(weight.dtype) if main_grad is None else None


@functools.cache
def _fp32_accumulation(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this torch multiplies ``dtype`` matrices and adds the product to an fp32 matrix in place.

    Where it does not, that is said, once on the first rank: gradients of lower precision must not pass unseen.
    """
    able = _adds_in_fp32(dtype, device)
    if not able and (not dist.is_initialized() or dist.get_rank() == 0):
        kind = str(dtype).removeprefix("torch.")
        log.warning(
            "the weight gradient of each micro-batch is rounded to %s before it is added in fp32 (half a unit in its "
            "last place), and moves 12 bytes per weight instead of 8: this torch has no addmm with out_dtype for %s on "
            "%s. A newer torch has it",
            *(kind, kind, device),
        )
    return able


def _adds_in_fp32(dtype: torch.dtype, device: torch.device) -> bool:
    ones = torch.ones(16, 16, dtype=dtype, device=device)
    total = torch.ones(16, 16, dtype=torch.float32, device=device)
    try:
        torch.addmm(total, ones, ones, out_dtype=torch.float32, out=total)
    except (RuntimeError, TypeError, NotImplementedError):
        return False
    return bool((total == 17.0).all())
