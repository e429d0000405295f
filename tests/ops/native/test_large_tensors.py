"""Kernels on more than 2^31 elements: what lies behind that border is computed like what lies before it."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from helpers.kernels import REAL_DEVICES
from steel_megatron.ops.native.activation import activation, activation_backward
from steel_megatron.ops.native.norm import layer_norm, layer_norm_backward
from steel_megatron.ops.native.rope import rope_

WIDTH = 4096
ROWS = 2**31 // WIDTH + 3
NEEDED = 2 * 2 * ROWS * WIDTH + 2**32  # bytes: two tensors of bf16, and some room

pytestmark = pytest.mark.slow


def large(device: str) -> Tensor:
    """Ones, but for the last rows: those are the sample's, which is returned as well."""
    free = (
        torch.cuda.mem_get_info()[0] if device == "cuda" else os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    )
    if free < NEEDED:
        pytest.skip(f"{NEEDED / 1e9:.0f} GB of memory are needed, {free / 1e9:.0f} GB are free")
    x = torch.ones(ROWS, WIDTH, dtype=torch.bfloat16, device=device)
    x[-4:] = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(0)).to(x)
    return x


@pytest.mark.parametrize("device", REAL_DEVICES)
def test_activation(device):
    x = large(device)
    y = activation(x, "squared_relu", False)
    assert torch.equal(y[-4:], activation(x[-4:].clone(), "squared_relu", False))
    assert y[0, 0] == y[-5, -1] == 1
    del y
    grad = activation_backward(x, x, "squared_relu", False)
    assert torch.equal(grad[-4:], activation_backward(x[-4:], x[-4:], "squared_relu", False))


@pytest.mark.parametrize("device", REAL_DEVICES)
def test_gated_activation(device):
    x = large(device)
    assert torch.equal(activation(x, "silu", True)[-4:], activation(x[-4:].clone(), "silu", True))


@pytest.mark.parametrize("device", REAL_DEVICES)
def test_norm(device):
    x = large(device)
    weight, bias = (torch.full((WIDTH,), value, dtype=x.dtype, device=device) for value in (2.0, 0.5))
    y, mean, rstd = layer_norm(x, weight, bias, 1e-5)
    own = layer_norm(x[-4:].clone(), weight, bias, 1e-5)
    assert all(torch.equal(all_rows[-4:], rows) for all_rows, rows in zip((y, mean, rstd), own, strict=True))
    assert y[0, 0] == y[-5, -1] == 0.5
    del y
    grad_x, _, grad_bias = layer_norm_backward(x, None, x, weight, mean, rstd)
    assert torch.equal(grad_x[-4:], layer_norm_backward(x[-4:], None, x[-4:], weight, *own[1:])[0])
    torch.testing.assert_close(grad_bias.double(), ROWS - 4 + x[-4:].double().sum(0), rtol=1e-2, atol=0)


@pytest.mark.parametrize("device", REAL_DEVICES)
def test_rope(device):
    x = large(device).view(1, ROWS, WIDTH // 64, 64)
    before = x[:, -4:].clone()
    angle = torch.full((1, ROWS, 1, 32), 0.5, device=device)
    rope_(x, angle.cos(), angle.sin(), False)
    rope_(before, angle[:, -4:].cos(), angle[:, -4:].sin(), False)
    assert torch.equal(x[:, -4:], before)
