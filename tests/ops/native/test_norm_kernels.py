"""RMSNorm kernels, alone and with the residual addition, against fp64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.kernels import DEVICES, DTYPES, close, instruction_sets, needs_cpu_kernels, random, set_backend
from steel_megatron.ops.native import library
from steel_megatron.ops.native import norm as native
from steel_megatron.ops.norm import add_rms_norm

SHAPES = {
    "rows": st.integers(0, 200),
    "hidden": st.sampled_from([1, 7, 16, 33, 320, 1000, 2048]),
    "dtype": st.sampled_from(DTYPES),
    "strided": st.booleans(),
}


def exact_norm(x, weight, epsilon):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=25, deadline=None)
@given(**SHAPES)
def test_rms_norm(device, rows, hidden, dtype, strided):
    x, grad = (random((rows, hidden), dtype, device, rows + n, strided).requires_grad_() for n in (0, 1))
    weight = random((hidden,), dtype, device, hidden).requires_grad_()
    y, _ = native.rms_norm(x, weight, 1e-5)
    y.backward(grad)
    exact_x, exact_weight = (t.detach().double().requires_grad_() for t in (x, weight))
    expected = exact_norm(exact_x, exact_weight, 1e-5)
    expected.backward(grad.double())
    close(y, expected)
    close(x.grad, exact_x.grad, absolute=1e-5)
    close(weight.grad, exact_weight.grad, factor=2, absolute=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=25, deadline=None)
@given(**SHAPES, sum_used=st.booleans())
def test_add_rms_norm(device, rows, hidden, dtype, strided, sum_used):
    x, residual, grad, grad_sum = (random((rows, 1, hidden), dtype, device, rows + n, strided) for n in range(4))
    weight = random((hidden,), dtype, device, hidden).requires_grad_()
    x, residual = x.requires_grad_(), residual.requires_grad_()
    y, total, _ = native.add_rms_norm(x, residual, weight, 1e-5)
    assert torch.equal(total, x + residual)  # bitwise what torch adds
    exact_total, exact_weight = (t.detach().double().requires_grad_() for t in (total, weight))
    expected = exact_norm(exact_total, exact_weight, 1e-5)
    if sum_used:
        torch.autograd.backward([y, total], [grad, grad_sum])
        torch.autograd.backward([expected, exact_total * 1.0], [grad.double(), grad_sum.double()])
    else:
        y.backward(grad)
        expected.backward(grad.double())
    close(y, expected)
    close(x.grad, exact_total.grad, absolute=1e-5)
    assert torch.equal(x.grad, residual.grad)
    close(weight.grad, exact_weight.grad, factor=2, absolute=1e-4)


@needs_cpu_kernels
def test_results_do_not_depend_on_threads():
    x, grad = (random((777, 333), torch.bfloat16, "cpu", n) for n in range(2))
    weight = random((333,), torch.bfloat16, "cpu", 2)
    found, threads = [], torch.get_num_threads()
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        y, rstd = native.rms_norm(x, weight, 1e-5)
        found.append((y, rstd, *native.rms_norm_backward(grad, None, x, weight, rstd)))
    torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("kernels", instruction_sets(), ids=lambda module: module.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_instruction_set(monkeypatch, kernels, dtype):
    monkeypatch.setattr(library, "cpu_module", lambda: kernels)
    x, weight = random((50, 77), dtype, "cpu", 0), random((77,), dtype, "cpu", 1)
    close(native.rms_norm(x, weight, 1e-5)[0], exact_norm(x.double(), weight.double(), 1e-5))


@needs_cpu_kernels
def test_operations_trace():
    x, weight = (random(s, torch.float32, "cpu", 0).requires_grad_() for s in ((5, 8), (8,)))
    rstd = torch.rand(5)
    torch.library.opcheck(native.rms_norm, (x, weight, 1e-5))
    torch.library.opcheck(native.add_rms_norm, (x, x.detach() + 1, weight, 1e-5))
    torch.library.opcheck(native.rms_norm_backward, (x.detach(), None, x.detach(), weight.detach(), rstd))


def test_the_sum_of_the_torch_path(monkeypatch):
    set_backend(monkeypatch, "torch")
    x, residual, weight = torch.randn(3, 4, 8), torch.randn(3, 4, 8), torch.rand(8)
    y, total = add_rms_norm(x, residual, weight, 1e-5)
    assert torch.equal(total, x + residual)
    close(y, exact_norm(total.double(), weight.double(), 1e-5))
