"""The RoPE kernel against fp64: partial rotation, packed positions, strided heads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.exact_rope import angles, exact_rope
from helpers.kernels import DEVICES, DTYPES, close, instruction_sets, needs_cpu_kernels, random
from steel_megatron.ops.native import library
from steel_megatron.ops.native.rope import rope, rope_, rope_heads_backward


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(0, 3),
    length=st.integers(0, 9),
    heads=st.integers(1, 5),
    half=st.sampled_from([1, 3, 8, 16, 40]),
    rest=st.sampled_from([0, 1, 16]),
    packed=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(["contiguous", "fused", "strided"]),
)
def test_rope(device, batch, length, heads, half, rest, packed, dtype, layout):
    size = 2 * half + rest
    x = random((batch, length, heads, size), dtype, device, length, layout == "strided")
    if layout == "fused":  # as queries lie in the output of one projection for queries, keys and values
        x = random((batch, length, (heads + 2) * size), dtype, device, length)[..., : heads * size]
        x = x.unflatten(-1, (heads, size))
    x = x.detach().requires_grad_()
    cosine, sine = angles(batch if packed and batch else 1, length, half, device)
    y = rope(x, cosine, sine, False)
    grad = random(tuple(y.shape), dtype, device, 7, layout == "strided")
    y.backward(grad)
    exact = x.detach().double().requires_grad_()
    expected = exact_rope(exact, cosine.double(), sine.double())
    expected.backward(grad.double())
    close(y, expected)
    close(x.grad, exact.grad)


@pytest.mark.parametrize("device", DEVICES)
def test_a_gradient_that_was_expanded(device):
    x = random((2, 3, 4, 8), torch.float32, device, 0).requires_grad_()
    cosine, sine = angles(1, 3, 4, device)
    grad = random((1, 3, 1, 8), torch.float32, device, 1).expand(2, 3, 4, 8)
    rope(x, cosine, sine, False).backward(grad)
    close(x.grad, exact_rope(grad.double(), cosine.double(), -sine.double()))


@pytest.mark.parametrize("kernels", instruction_sets(), ids=lambda module: module.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_instruction_set(monkeypatch, kernels, dtype):
    monkeypatch.setattr(library, "cpu_module", lambda: kernels)
    x, (cosine, sine) = random((2, 3, 4, 50), dtype, "cpu", 0), angles(1, 3, 20, "cpu")
    close(rope(x, cosine, sine, True), exact_rope(x.double(), cosine.double(), -sine.double()))


@needs_cpu_kernels
def test_operation_traces_and_refuses():
    x, (cosine, sine) = torch.randn(2, 3, 4, 8, requires_grad=True), angles(1, 3, 4, "cpu")
    torch.library.opcheck(rope, (x, cosine, sine, False))
    torch.library.opcheck(rope_, (x.detach().clone(), cosine, sine, True))
    torch.library.opcheck(rope_heads_backward, (x.detach(), x.detach(), x.detach(), cosine, sine))
    with pytest.raises(ValueError, match="must be neighbours"):
        rope_(torch.randn(2, 3, 4, 16)[..., ::2], cosine, sine, False)
    with pytest.raises(ValueError, match="angles of shape"):
        rope(x, cosine[:, :2], sine[:, :2], False)


def emulated_rotation(dtype: torch.dtype) -> list[Tensor]:
    cosine, sine = angles(2, 3, 16, "cpu")
    return [rope(random((2, 3, 40, 48), dtype, "cpu", 1), cosine, sine, False)]
