"""Stochastic rounding in the kernels: the bits of the reference."""

from __future__ import annotations

import pytest
import torch

from helpers.kernels import DEVICES, instruction_sets
from steel_megatron.ops.native import library
from steel_megatron.ops.native.optimizer import adamw_
from steel_megatron.ops.rounding import Place, store


def check_kernel(device):
    """With betas of 0 the moments are the gradient and its square, so both sides round the same fp32 numbers."""
    torch.manual_seed(0)
    shapes, offsets = [(37, 130), (1, 1), (20000,), (3, 40000)], [(5, 12), (0, 0), (3,), (1 << 20, 0)]
    places = [Place.of(str(shape), 4, offset, shape) for shape, offset in zip(shapes, offsets, strict=True)]
    grads = [torch.randn(shape).to(device) for shape in shapes]
    masters = [torch.zeros_like(grad) for grad in grads]
    moments = [[torch.zeros_like(grad, dtype=torch.bfloat16) for grad in grads] for _ in range(2)]
    numbers = [number for place in places for number in place.numbers]
    scale = torch.ones((), dtype=torch.float64, device=device)
    adamw_([], masters, grads, *moments, [True] * 4, numbers, scale, 0.1, 0.0, 0.0, 1e-8, 0.0, 7)
    for grad, place, exp_avg, exp_avg_sq in zip(grads, places, *moments, strict=True):
        for found, exact, upper in ((exp_avg, grad, True), (exp_avg_sq, grad * grad, False)):
            expected = torch.empty_like(found)
            store(expected, exact, place, 7, upper=upper)
            assert torch.equal(found, expected)


@pytest.mark.parametrize("device", DEVICES)
def test_the_kernel_rounds_with_the_same_bits(device):
    check_kernel(device)


@pytest.mark.parametrize("kernels", instruction_sets(), ids=lambda module: module.__name__)
def test_every_instruction_set(monkeypatch, kernels):
    monkeypatch.setattr(library, "cpu_module", lambda: kernels)
    check_kernel("cpu")
