"""Kernels of plain and gated activations against fp64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.kernels import DEVICES, DTYPES, close, instruction_sets, needs_cpu_kernels, random
from steel_megatron.ops.native import library
from steel_megatron.ops.native.activation import FUNCTIONS, activation, activation_backward

EXACT = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "squared_relu": lambda x: F.relu(x).square(),
}


def exact_activation(x, function, gated):
    if not gated:
        return EXACT[function](x)
    gate, up = x.chunk(2, dim=-1)
    return EXACT[function](gate) * up


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=12, deadline=None)
@given(
    rows=st.integers(0, 100),
    width=st.sampled_from([1, 5, 16, 31, 128, 896, 4100]),
    gated=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    strided=st.booleans(),
    scale=st.sampled_from([1.0, 30.0]),
)
def test_activation(device, function, rows, width, gated, dtype, strided, scale):
    rows = min(rows, 10) if width > 1000 else rows
    scale = min(scale, 5.0) if function == "squared_relu" else scale  # fp16 ends at 65504
    x = (random((rows, 2 * width if gated else width), dtype, device, rows, strided) * scale).requires_grad_()
    grad = random((rows, width), dtype, device, rows + 1, strided)
    y = activation(x, function, gated)
    y.backward(grad)
    exact = x.detach().double().requires_grad_()
    expected = exact_activation(exact, function, gated)
    expected.backward(grad.double())
    close(y, expected)
    close(x.grad, exact.grad, factor=2)


@pytest.mark.parametrize("kernels", instruction_sets(), ids=lambda module: module.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_instruction_set(monkeypatch, kernels, dtype, function):
    monkeypatch.setattr(library, "cpu_module", lambda: kernels)
    x = (8 * random((20, 154), dtype, "cpu", 0)).requires_grad_()
    exact = x.detach().double().requires_grad_()
    for gated in (False, True):
        y, expected = activation(x, function, gated), exact_activation(exact, function, gated)
        close(y, expected)
        ours, theirs = (torch.autograd.grad(out.sum(), (inp,)) for out, inp in ((y, x), (expected, exact)))
        close(*ours, *theirs, factor=2)


@needs_cpu_kernels
@pytest.mark.parametrize("function", ["silu", "gelu"])
def test_small_values_keep_their_digits(function):
    x = torch.linspace(-12.5, 12.5, 20001)
    y, exact = activation(x, function, False).double(), exact_activation(x.double(), function, False)
    if function == "gelu":  # torch's own loses them even in fp64
        exact = x.double() * torch.special.erfc(-x.double() / 2**0.5) / 2
    assert ((y - exact).abs() <= 1e-5 * exact.abs()).all()


@needs_cpu_kernels
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("value", [0.0, -0.0, 1e-30, 88.0, -88.0, 300.0, -300.0, 1e19, float("nan")])
def test_extremes(function, value):
    x = torch.tensor([[value, 1.0]], requires_grad=True)
    exact = x.detach().double().requires_grad_()
    y, expected = activation(x, function, True), exact_activation(exact, function, True)
    torch.testing.assert_close(y, expected.float(), atol=1e-30, rtol=1e-6, equal_nan=True)
    y.backward(torch.ones_like(y))
    expected.backward(torch.ones_like(expected))
    slope = (x.grad[0, 0], exact.grad[0, 0].float())
    if value == value:  # not NaN
        torch.testing.assert_close(*slope, atol=1e-30, rtol=1e-6)


@needs_cpu_kernels
def test_halves_round_as_torch_does():
    values = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.float16)
    ones = torch.full_like(values, 60.0)  # silu(60) is 60 in fp16: the product shows how the other factor is read
    pairs = torch.stack([ones, values], dim=1).unflatten(0, (256, 256)).flatten(1).unflatten(1, (-1, 2))
    expected = (values.float() * 60.0).half()
    torch.testing.assert_close(activation(pairs, "silu", True).flatten(), expected, rtol=0, atol=0, equal_nan=True)


@needs_cpu_kernels
def test_operation_traces():
    for function in FUNCTIONS:
        torch.library.opcheck(activation, (torch.randn(3, 8, requires_grad=True), function, True))
    torch.library.opcheck(activation, (torch.randn(3, 7, requires_grad=True), "gelu", False))
    with pytest.raises(ValueError, match="7 channels"):
        activation(torch.randn(3, 7), "silu", True)


def emulated_activations(dtype: torch.dtype) -> list[Tensor]:
    x, grad = random((3, 4112), dtype, "cpu", 1), random((3, 2056), dtype, "cpu", 2)
    forward = [activation(x, function, True) for function in FUNCTIONS]
    return forward + [activation_backward(grad, x, function, True) for function in FUNCTIONS]
