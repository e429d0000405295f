"""Every CUDA kernel, emulated: the same bits in any order of threads and blocks; tensors at any address."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.cuda_emulator.kernels import kernels
from helpers.kernels import DTYPES, EMULATED, RELATIVE, close, random

Case = Callable[[torch.dtype], list[Tensor]]
SEEDS = range(5)  # in order, backwards, three times shuffled


def cases() -> Iterator[Case]:
    """Functions ``emulated_…`` of the tests of kernels: a type → what kernels make of tensors of it."""
    own = Path(__file__)
    for path in sorted(own.parent.glob("test_*.py")):
        if path == own or "\ndef emulated_" not in path.read_text(encoding="utf-8"):
            continue
        spec = importlib.util.spec_from_file_location(f"emulated_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield from (function for name, function in vars(module).items() if name.startswith("emulated_"))


CASES = list(cases())


def bits(tensors: list[Tensor]) -> list[bytes]:
    return [tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for tensor in tensors]


@pytest.mark.parametrize("device", [EMULATED])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("emulated_"))
def test_the_same_bits_in_any_order(monkeypatch, device, dtype, case):
    found = []
    for seed in SEEDS:
        monkeypatch.setattr(kernels(), "seeds", itertools.repeat(seed))
        found.append(bits(case(dtype)))
    assert all(other == found[0] for other in found[1:])


def shifted_random(*arguments: Any) -> Tensor:
    """Numbers that begin one element into their memory: not at a multiple of 16 bytes."""
    values = random(*arguments)
    return torch.cat([values.new_zeros(1), values.flatten()])[1:].view(values.shape)


@pytest.mark.parametrize("device", [EMULATED])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("emulated_"))
def test_tensors_at_addresses_that_are_not_aligned(monkeypatch, device, dtype, case):
    expected = case(dtype)
    monkeypatch.setitem(case.__globals__, "random", shifted_random)
    for ours, theirs in zip(case(dtype), expected, strict=True):
        if ours.dtype in RELATIVE:
            close(ours, theirs.double(), factor=2, absolute=1e-5)  # sums in another order
        else:
            assert torch.equal(ours.double(), theirs.double())


@pytest.mark.parametrize("device", [EMULATED])
def test_no_kernel_is_left_out(monkeypatch, device):
    """A new kernel in csrc/ops/declarations.h needs a function ``emulated_…`` in its test."""
    monkeypatch.setattr(kernels(), "launched", set())
    for case in CASES:
        case(torch.bfloat16)
    assert kernels().launched == set(kernels().signatures)
