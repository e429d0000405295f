"""The SwiGLU kernel against fp64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.kernels import DEVICES, DTYPES, close, instruction_sets, needs_cpu_kernels, random
from steel_megatron.ops.native import library
from steel_megatron.ops.native.activation import swiglu


def exact_swiglu(gate_up):
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(0, 100),
    width=st.sampled_from([1, 5, 16, 31, 128, 896]),
    dtype=st.sampled_from(DTYPES),
    strided=st.booleans(),
    scale=st.sampled_from([1.0, 30.0]),
)
def test_swiglu(device, rows, width, dtype, strided, scale):
    gate_up = (random((rows, 2 * width), dtype, device, rows, strided) * scale).requires_grad_()
    grad = random((rows, width), dtype, device, rows + 1, strided)
    y = swiglu(gate_up)
    y.backward(grad)
    exact = gate_up.detach().double().requires_grad_()
    expected = exact_swiglu(exact)
    expected.backward(grad.double())
    close(y, expected)
    close(gate_up.grad, exact.grad, factor=2)


@pytest.mark.parametrize("kernels", instruction_sets(), ids=lambda module: module.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_instruction_set(monkeypatch, kernels, dtype):
    monkeypatch.setattr(library, "cpu_module", lambda: kernels)
    gate_up = 8 * random((20, 154), dtype, "cpu", 0)
    close(swiglu(gate_up), exact_swiglu(gate_up.double()))


@needs_cpu_kernels
@pytest.mark.parametrize("value", [0.0, -0.0, 1e-30, 88.0, -88.0, 300.0, -300.0, 3e38, float("nan")])
def test_extremes(value):
    gate_up = torch.tensor([[value, 1.0]])
    torch.testing.assert_close(swiglu(gate_up), exact_swiglu(gate_up), atol=1e-30, rtol=1e-6, equal_nan=True)


@needs_cpu_kernels
def test_halves_round_as_torch_does():
    values = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.float16)
    ones = torch.full_like(values, 60.0)  # silu(60) is 60 in fp16: the product shows how the other factor is read
    y = swiglu(torch.stack([ones, values], dim=1).unflatten(0, (256, 256)).flatten(1).unflatten(1, (-1, 2)))
    expected = (values.float() * 60.0).half()
    torch.testing.assert_close(y.flatten(), expected, rtol=0, atol=0, equal_nan=True)


@needs_cpu_kernels
def test_operation_traces():
    torch.library.opcheck(swiglu, (torch.randn(3, 8, requires_grad=True),))
    with pytest.raises(ValueError, match="7 channels"):
        swiglu(torch.randn(3, 7))
