"""Kernels of RMSNorm and LayerNorm, alone and with the residual addition, against fp64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.kernels import (
    CUDA_DEVICES,
    DEVICES,
    DTYPES,
    close,
    instruction_sets,
    needs_cpu_kernels,
    random,
    set_backend,
)
from steel_megatron.ops.native import library
from steel_megatron.ops.native import norm as native
from steel_megatron.ops.norm import add_layer_norm, add_rms_norm, layer_norm

SHAPES = {
    "rows": st.integers(0, 200),
    "hidden": st.sampled_from([1, 7, 16, 33, 320, 1000, 2048]),
    "dtype": st.sampled_from(DTYPES),
    "strided": st.booleans(),
}
KINDS = ["rms", "layer"]


def exact_norm(x, weight, bias=None):
    if bias is None:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * weight
    return F.layer_norm(x, weight.shape, weight, bias, 1e-5)


def parameters_of(kind, hidden, dtype, device):
    """Weight, and for a LayerNorm the bias."""
    return [random((hidden,), dtype, device, hidden + n).requires_grad_() for n in range(1 if kind == "rms" else 2)]


def doubles(tensors):
    return [tensor.detach().double().requires_grad_() for tensor in tensors]


def closes(ours, exact):
    """Gradients of parameters: sums over rows in fp32."""
    for mine, theirs in zip(ours, exact, strict=True):
        close(mine.grad, theirs.grad, factor=2, absolute=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=12, deadline=None)
@given(**SHAPES, offset=st.sampled_from([0.0, 20.0]))
def test_norm(device, kind, rows, hidden, dtype, strided, offset):
    x, grad = (random((rows, hidden), dtype, device, rows + n, strided) for n in (0, 1))
    x = (x + offset).requires_grad_()
    parameters = parameters_of(kind, hidden, dtype, device)
    y = (native.rms_norm if kind == "rms" else native.layer_norm)(x, *parameters, 1e-5)[0]
    y.backward(grad)
    exact_x, *exact = doubles([x, *parameters])
    expected = exact_norm(exact_x, *exact)
    expected.backward(grad.double())
    # A mean of 20 in fp32 leaves an error of 1e-6 in what it is taken from.
    blur = 1.0 if offset == 0.0 else 20.0
    close(y, expected, absolute=1e-6 * blur)
    close(x.grad, exact_x.grad, absolute=1e-5 * blur)
    closes(parameters, exact)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=12, deadline=None)
@given(**SHAPES, sum_used=st.booleans())
def test_with_the_residual_addition(device, kind, rows, hidden, dtype, strided, sum_used):
    x, residual, grad, grad_sum = (random((rows, 1, hidden), dtype, device, rows + n, strided) for n in range(4))
    parameters = parameters_of(kind, hidden, dtype, device)
    x, residual = x.requires_grad_(), residual.requires_grad_()
    add_norm = native.add_rms_norm if kind == "rms" else native.add_layer_norm
    y, total = add_norm(x, residual, *parameters, 1e-5)[:2]
    assert torch.equal(total, x + residual)  # bitwise what torch adds
    exact_total, *exact = doubles([total, *parameters])
    expected = exact_norm(exact_total, *exact)
    if sum_used:
        torch.autograd.backward([y, total], [grad, grad_sum])
        torch.autograd.backward([expected, exact_total * 1.0], [grad.double(), grad_sum.double()])
    else:
        y.backward(grad)
        expected.backward(grad.double())
    close(y, expected)
    close(x.grad, exact_total.grad, absolute=1e-5)
    assert torch.equal(x.grad, residual.grad)
    closes(parameters, exact)


@pytest.mark.parametrize("device", CUDA_DEVICES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rows", "hidden"),
    [
        (3, 4096),
        (3, 4104),
        (514, 1101),
        (3, 8200),
        (3, 20000),
        (3, 65536),
        *(pytest.param(700, hidden, marks=pytest.mark.slow) for hidden in (4096, 5003, 20000, 65536)),
    ],
)
def test_wide_rows(device, kind, rows, hidden):
    """Beyond what the registers and the shared memory of a block hold; more rows than partial sums."""
    x, grad = (random((rows, hidden), torch.bfloat16, device, n) for n in (0, 1))
    parameters, x = parameters_of(kind, hidden, torch.bfloat16, device), x.requires_grad_()
    y = (native.rms_norm if kind == "rms" else native.layer_norm)(x, *parameters, 1e-5)[0]
    y.backward(grad)
    exact_x, *exact = doubles([x, *parameters])
    expected = exact_norm(exact_x, *exact)
    expected.backward(grad.double())
    close(y, expected)
    close(x.grad, exact_x.grad, absolute=1e-5)
    closes(parameters, exact)


@needs_cpu_kernels
@pytest.mark.parametrize("kind", KINDS)
def test_results_do_not_depend_on_threads(kind):
    x, grad = (random((777, 333), torch.bfloat16, "cpu", n) for n in range(2))
    parameters = [p.detach() for p in parameters_of(kind, 333, torch.bfloat16, "cpu")]
    found, threads = [], torch.get_num_threads()
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        forward = native.rms_norm if kind == "rms" else native.layer_norm
        backward = native.rms_norm_backward if kind == "rms" else native.layer_norm_backward
        y, *statistics = forward(x, *parameters, 1e-5)
        found.append((y, *statistics, *backward(grad, None, x, parameters[0], *statistics)))
    torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("kernels", instruction_sets(), ids=lambda module: module.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_instruction_set(monkeypatch, kernels, dtype):
    monkeypatch.setattr(library, "cpu_module", lambda: kernels)
    x, weight, bias = (random((rows, 77), dtype, "cpu", n) for n, rows in enumerate((50, 1, 1)))
    weight, bias = weight[0], bias[0]
    close(native.rms_norm(x, weight, 1e-5)[0], exact_norm(x.double(), weight.double()))
    close(native.layer_norm(x, weight, bias, 1e-5)[0], exact_norm(x.double(), weight.double(), bias.double()))


@needs_cpu_kernels
def test_operations_trace():
    x, weight, bias = (random(s, torch.float32, "cpu", 0).requires_grad_() for s in ((5, 8), (8,), (8,)))
    rstd, plain, plain_weight = torch.rand(5), x.detach(), weight.detach()
    torch.library.opcheck(native.rms_norm, (x, weight, 1e-5))
    torch.library.opcheck(native.add_rms_norm, (x, plain + 1, weight, 1e-5))
    torch.library.opcheck(native.rms_norm_backward, (plain, None, plain, plain_weight, rstd))
    torch.library.opcheck(native.layer_norm, (x, weight, bias, 1e-5))
    torch.library.opcheck(native.add_layer_norm, (x, plain + 1, weight, bias, 1e-5))
    torch.library.opcheck(native.layer_norm_backward, (plain, plain, plain, plain_weight, rstd, rstd))


@needs_cpu_kernels
@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_of_the_sum_alone_passes_through(kind):
    x, residual, grad = (random((5, 8), torch.float32, "cpu", n) for n in range(3))
    parameters, x = parameters_of(kind, 8, torch.float32, "cpu"), x.requires_grad_()
    add_norm = native.add_rms_norm if kind == "rms" else native.add_layer_norm
    _, total, *_ = add_norm(x, residual, *parameters, 1e-5)
    total.backward(grad)
    assert torch.equal(x.grad, grad)
    assert all(parameter.grad is None for parameter in parameters)


@pytest.mark.parametrize("backend", ["torch", "steel"])
def test_the_sum_and_the_bias_that_may_be_missing(monkeypatch, backend):
    if backend == "steel" and not library.built("cpu"):
        pytest.skip("steel_megatron._ops was not built")
    set_backend(monkeypatch, backend)
    x, residual, weight, bias = torch.randn(3, 4, 8), torch.randn(3, 4, 8), torch.rand(8), torch.randn(8)
    y, total = add_rms_norm(x, residual, weight, 1e-5)
    assert torch.equal(total, x + residual)
    close(y, exact_norm(total.double(), weight.double()))
    for shift in (bias, None):
        y, total = add_layer_norm(x, residual, weight, shift, 1e-5)
        exact = exact_norm(
            total.double(), weight.double(), torch.zeros(8).double() if shift is None else shift.double()
        )
        assert torch.equal(total, x + residual)
        close(y, exact)
        close(layer_norm(total, weight, shift, 1e-5), exact)


def emulated_norms(dtype: torch.dtype) -> list[Tensor]:
    x, residual, grad, grad_sum = (random((530, 72), dtype, "cpu", n) for n in range(4))
    weight, bias = (random((72,), dtype, "cpu", n) for n in range(2))
    _, rms_sum, rstd = rms = native.add_rms_norm(x, residual, weight, 1e-5)
    _, layer_sum, *statistics = layer = native.add_layer_norm(x, residual, weight, bias, 1e-5)
    rms_grads = native.rms_norm_backward(grad, grad_sum, rms_sum, weight, rstd)
    return [*rms, *layer, *rms_grads, *native.layer_norm_backward(grad, None, layer_sum, weight, *statistics)]


def emulated_wide_norms(dtype: torch.dtype) -> list[Tensor]:
    x, grad, weight = random((3, 20008), dtype, "cpu", 1), random((3, 20008), dtype, "cpu", 2), torch.ones(20008)
    _, total, rstd = found = native.add_rms_norm(x, x, weight.to(dtype), 1e-5)
    return [*found, *native.rms_norm_backward(grad, None, total, weight.to(dtype), rstd)]
