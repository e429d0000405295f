"""Activations against torch in fp64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from steel_megatron.ops.activation import gated_activation, plain_activation


@pytest.mark.parametrize(("name", "function"), [("swiglu", F.silu), ("geglu", F.gelu)])
@pytest.mark.parametrize("shape", [(0, 8), (3, 2), (2, 70, 96), (5, 3, 4000)])
def test_gated(name, function, shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    gate, up = x.chunk(2, -1)
    expected = function(gate) * up
    grad = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    expected.backward(grad)
    ours = x.detach().float().requires_grad_()
    y = gated_activation(ours, name)
    y.backward(grad.float())
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.grad.double(), x.grad, rtol=1e-4, atol=1e-5)


def test_gated_takes_strided_input():
    x = torch.randn(4, 6, 20, requires_grad=True)
    y = gated_activation(x[:, ::2], "swiglu")
    y.sum().backward()
    assert (x.grad[:, 1::2] == 0).all()
    torch.testing.assert_close(y, F.silu(x[:, ::2, :10]) * x[:, ::2, 10:])


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("gelu", F.gelu),
        ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")),
        ("relu", F.relu),
        ("squared_relu", lambda x: F.relu(x) ** 2),
        ("silu", F.silu),
    ],
)
def test_plain(name, function):
    x = torch.linspace(-4, 4, 101)
    torch.testing.assert_close(plain_activation(x, name), function(x))


def test_unknown_gate_is_refused():
    with pytest.raises(ValueError, match="gelu"):
        gated_activation(torch.ones(2, 4), "gelu")
