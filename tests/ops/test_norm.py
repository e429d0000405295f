"""RMSNorm and LayerNorm against fp64, forward and backward."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.kernels import needs_cpu_kernels
from steel_megatron.ops import backends
from steel_megatron.ops.norm import layer_norm, layer_norm_beside, rms_norm, rms_norm_beside


def rms_reference(x, weight, epsilon):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight


@settings(max_examples=30)
@given(rows=st.integers(0, 300), hidden=st.sampled_from([1, 7, 64, 1000]), strided=st.booleans())
def test_rms_norm(rows, hidden, strided):
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(2 * rows if strided else rows, hidden, generator=generator, dtype=torch.float64)
    x = x[::2] if strided else x
    weight = torch.randn(hidden, generator=generator, dtype=torch.float64)
    grad = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    exact = [t.clone().requires_grad_() for t in (x, weight)]
    rms_reference(*exact, 1e-5).backward(grad)
    ours = [t.float().requires_grad_() for t in (x, weight)]
    y = rms_norm(*ours, 1e-5)
    y.backward(grad.float())
    torch.testing.assert_close(y.double(), rms_reference(x, weight, 1e-5), rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("function", ["rms", "layer"])
def test_bf16_is_rounded_once(function):
    x = torch.randn(50, 256, generator=torch.Generator().manual_seed(1)).bfloat16()
    weight, bias = torch.rand(256).bfloat16() + 0.5, torch.rand(256).bfloat16()
    if function == "rms":
        ours, exact = rms_norm(x, weight, 1e-6), rms_reference(x.double(), weight.double(), 1e-6)
    else:
        ours = layer_norm(x, weight, bias, 1e-6)
        exact = torch.nn.functional.layer_norm(x.double(), (256,), weight.double(), bias.double(), 1e-6)
    assert ours.dtype == torch.bfloat16
    rounded = exact.bfloat16()
    # fp32 statistics may tip a value on the border between two bf16 numbers.
    assert (ours != rounded).float().mean() < 0.01
    torch.testing.assert_close(ours.double(), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("backend", [pytest.param("steel", marks=needs_cpu_kernels), "torch"])
@pytest.mark.parametrize("kind", ["rms", "layer"])
@pytest.mark.parametrize("used", ["both", "norm", "beside"])
def test_gradients_of_the_norm_and_of_what_lies_beside_it_add_up(backend, kind, used):
    generator = torch.Generator().manual_seed(2)
    x, grad, grad_beside = (torch.randn(3, 4, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    parameters = [torch.randn(8, generator=generator, dtype=torch.float64) for _ in range(1 if kind == "rms" else 2)]
    exact = [t.clone().requires_grad_() for t in (x, *parameters)]
    ours = [t.float().requires_grad_() for t in (x, *parameters)]
    reference = rms_reference if kind == "rms" else lambda x, w, b, e: torch.nn.functional.layer_norm(x, (8,), w, b, e)
    beside = rms_norm_beside if kind == "rms" else layer_norm_beside
    with backends.forced(f"{kind}_norm", backend, "cpu"):
        y, same = beside(*ours, 1e-5)
        assert torch.equal(same, ours[0])
        chosen = {"both": [0, 1], "norm": [0], "beside": [1]}[used]
        torch.autograd.backward(
            [(y, same)[n] for n in chosen], [(grad.float(), grad_beside.float())[n] for n in chosen]
        )
    expected = (reference(*exact, 1e-5), exact[0] * 1.0)
    torch.autograd.backward([expected[n] for n in chosen], [(grad, grad_beside)[n] for n in chosen])
    torch.testing.assert_close(y.double(), expected[0].detach(), rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(ours, exact, strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
        if theirs.grad is not None:
            torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-3, atol=1e-4)
