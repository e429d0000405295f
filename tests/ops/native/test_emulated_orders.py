"""Every CUDA kernel, emulated: the same bits in any order of threads and blocks; tensors at any address."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from helpers.cuda_emulator.kernels import kernels
from helpers.exact_rope import angles
from helpers.kernels import DTYPES, EMULATED, RELATIVE, close, random
from steel_megatron.ops import backends, scaled_matmul
from steel_megatron.ops.native.activation import FUNCTIONS, activation, activation_backward
from steel_megatron.ops.native.cross_entropy import cross_entropy_gradient_, cross_entropy_statistics
from steel_megatron.ops.native.embedding import embedding_gradient_
from steel_megatron.ops.native.norm import add_layer_norm, add_rms_norm, layer_norm_backward, rms_norm_backward
from steel_megatron.ops.native.optimizer import CHUNK, adamw_, sum_of_squares
from steel_megatron.ops.native.qk_norm_rope import qk_norm_rope, qk_norm_rope_backward
from steel_megatron.ops.native.quantise import largest_magnitude, quantise
from steel_megatron.ops.native.rope import rope
from steel_megatron.ops.scaled_matmul import E4M3

aligned_random = random
SEEDS = range(5)  # in order, backwards, three times shuffled


def norms(dtype: torch.dtype) -> list[Tensor]:
    x, residual, grad, grad_sum = (random((530, 72), dtype, "cpu", n) for n in range(4))
    weight, bias = (random((72,), dtype, "cpu", n) for n in range(2))
    _, rms_sum, rstd = rms = add_rms_norm(x, residual, weight, 1e-5)
    _, layer_sum, *statistics = layer = add_layer_norm(x, residual, weight, bias, 1e-5)
    rms_grads = rms_norm_backward(grad, grad_sum, rms_sum, weight, rstd)
    return [*rms, *layer, *rms_grads, *layer_norm_backward(grad, None, layer_sum, weight, *statistics)]


def wide_norms(dtype: torch.dtype) -> list[Tensor]:
    x, grad, weight = random((3, 20008), dtype, "cpu", 1), random((3, 20008), dtype, "cpu", 2), torch.ones(20008)
    _, total, rstd = found = add_rms_norm(x, x, weight.to(dtype), 1e-5)
    return [*found, *rms_norm_backward(grad, None, total, weight.to(dtype), rstd)]


def activations(dtype: torch.dtype) -> list[Tensor]:
    x, grad = random((3, 4112), dtype, "cpu", 1), random((3, 2056), dtype, "cpu", 2)
    forward = [activation(x, function, True) for function in FUNCTIONS]
    return forward + [activation_backward(grad, x, function, True) for function in FUNCTIONS]


def cross_entropy(dtype: torch.dtype) -> list[Tensor]:
    logits, labels, scale = random((5, 9000), dtype, "cpu", 1), torch.arange(5), torch.linspace(0.0, 1.0, 5)
    found = cross_entropy_statistics(logits, labels, 0, 8990)
    cross_entropy_gradient_(logits, labels, found[0], scale, scale, 0, 8990)
    return [*found, logits]


def embedding(dtype: torch.dtype) -> list[Tensor]:
    grad, target = random((300, 1040), dtype, "cpu", 1), random((7, 1040), dtype, "cpu", 2)
    embedding_gradient_(target, grad, torch.arange(300) % 9 - 1)
    return [target]


def optimizer(dtype: torch.dtype) -> list[Tensor]:
    sizes = (2 * CHUNK + 5, 300)
    masters, grads, exp_avgs, squares = (
        [random((n,), torch.float32, "cpu", 4 * n + k) for n in sizes] for k in range(4)
    )
    parameters = [torch.empty(n, dtype=dtype) for n in sizes]
    moments = [m.bfloat16() for m in exp_avgs], [v.square() for v in squares]
    scale = torch.tensor(0.5, dtype=torch.float64)
    places = [7, 0, 0, 40] * len(sizes)
    numbers = (1e-2, 0.9, 0.95, 1e-8, 0.1, 3)
    adamw_(parameters, masters, grads, *moments, [True, False], places, scale, *numbers)
    return [*parameters, *masters, *moments[0], *moments[1], sum_of_squares(grads)]


def rotation(dtype: torch.dtype) -> list[Tensor]:
    cosine, sine = angles(2, 3, 16, "cpu")
    return [rope(random((2, 3, 40, 48), dtype, "cpu", 1), cosine, sine, False)]


def normed_rotation(dtype: torch.dtype) -> list[Tensor]:
    queries, keys, size = 4, 2, 48
    qkv = random((2, 300, (queries + 2 * keys) * size), dtype, "cpu", 1)
    weights = [random((size,), dtype, "cpu", n) for n in (2, 3)]
    cosine, sine = angles(2, 300, 16, "cpu")
    heads, rstd = qk_norm_rope(qkv, *weights, cosine, sine, queries, 1e-5)
    grads = [random((2, 300, n, size), dtype, "cpu", n) for n in (queries, keys, keys)]
    return [heads, rstd, *qk_norm_rope_backward(*grads, qkv, *weights, rstd, cosine, sine)]


def rounding(dtype: torch.dtype) -> list[Tensor]:
    x = random((272, 288), dtype, "cpu", 1)
    amax = largest_magnitude(x)
    return [amax, *quantise(x, amax, torch.float8_e4m3fn, 448.0, 1e-30, True, True)]


def rounded_products(dtype: torch.dtype) -> list[Tensor]:
    a, b = (
        scaled_matmul.quantise(x, E4M3, x.abs().max().float())
        for x in (random((32, 48), dtype, "cpu", n) for n in (1, 2))
    )
    total = random((32, 32), torch.float32, "cpu", 3)
    with backends.forced("scaled_matmul_add", "steel_cuda", "cpu"):
        scaled_matmul.add_product_(total, a, b)
    return [total]


CASES: list[Callable[[torch.dtype], list[Tensor]]] = [
    norms,
    wide_norms,
    activations,
    cross_entropy,
    embedding,
    optimizer,
    rotation,
    normed_rotation,
    rounding,
    rounded_products,
]


def bits(tensors: list[Tensor]) -> list[bytes]:
    return [tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for tensor in tensors]


@pytest.mark.parametrize("device", [EMULATED])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_same_bits_in_any_order(monkeypatch, device, dtype, case):
    found = []
    for seed in SEEDS:
        monkeypatch.setattr(kernels(), "seeds", itertools.repeat(seed))
        found.append(bits(case(dtype)))
    assert all(other == found[0] for other in found[1:])


def shifted_random(*arguments) -> Tensor:
    """Numbers that begin one element into their memory: not at a multiple of 16 bytes."""
    values = aligned_random(*arguments)
    return torch.cat([values.new_zeros(1), values.flatten()])[1:].view(values.shape)


@pytest.mark.parametrize("device", [EMULATED])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_tensors_at_addresses_that_are_not_aligned(monkeypatch, device, dtype, case):
    expected = case(dtype)
    monkeypatch.setitem(globals(), "random", shifted_random)
    for ours, theirs in zip(case(dtype), expected, strict=True):
        if ours.dtype in RELATIVE:
            close(ours, theirs.double(), factor=2, absolute=1e-5)  # sums in another order
        else:
            assert torch.equal(ours.double(), theirs.double())


@pytest.mark.parametrize("device", [EMULATED])
def test_no_kernel_is_left_out(monkeypatch, device):
    """A new kernel in csrc/ops/declarations.h needs a case above."""
    monkeypatch.setattr(kernels(), "launched", set())
    for case in CASES:
        case(torch.bfloat16)
    assert kernels().launched == set(kernels().signatures)
