"""What torch.compile fuses, where there is no nvcc, against the references: the same numbers and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from steel_megatron.ops import backends

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.01, torch.float16: 0.002}
dtypes = pytest.mark.parametrize("dtype", list(TOLERANCE))
H = 24


def tensors(dtype: torch.dtype, *shapes: Sequence[int]) -> list[Tensor]:
    """Random ones, the same in every type but for its rounding."""
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def results(operation: str, backend: str, function: Callable[..., Any], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Outputs and gradients of all inputs, in fp64."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    with backends.forced(operation, backend, "cpu"):
        outputs = function(*leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        weights = tensors(torch.float64, *(y.shape for y in outputs))
        torch.stack([(y.double() * w).sum() for y, w in zip(outputs, weights, strict=True)]).sum().backward()
    return [x.detach().double() for x in (*outputs, *(leaf.grad for leaf in leaves))]


def check(operation: str, function: Callable[..., Any], inputs: Sequence[Tensor]) -> None:
    """The compiled form against torch's in fp32, from the same rounded numbers."""
    found = results(operation, "compiled", function, inputs)
    expected = results(operation, "torch", function, [x.float() for x in inputs])
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() <= TOLERANCE[inputs[0].dtype] * theirs.norm().clamp_min(1e-12)


def check_fakes(*cases: tuple[Any, tuple[Any, ...]]) -> None:
    """What each operation says of its results without computing them is what comes out."""
    for operation, arguments in cases:
        torch.library.opcheck(operation, arguments, test_utils=("test_schema", "test_faketensor"))
