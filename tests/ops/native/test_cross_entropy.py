"""The cross-entropy kernels against fp64: whole and partial vocabularies, masked tokens, z-loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.kernels import CUDA_DEVICES, DEVICES, DTYPES, close, instruction_sets, needs_cpu_kernels, random
from steel_megatron.ops.native import library
from steel_megatron.ops.native.cross_entropy import cross_entropy_gradient_, cross_entropy_statistics


def exact_gradient(logits, labels, partition, probability_scale, label_scale, first, real):
    result = torch.zeros_like(logits)
    result[:, :real] = torch.exp(logits[:, :real] - partition[:, None]) * probability_scale[:, None]
    for row, label in enumerate((labels - first).tolist()):
        if 0 <= label < real:
            result[row, label] -= label_scale[row]
    return result


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=40, deadline=None)
@given(
    tokens=st.integers(0, 40),
    columns=st.sampled_from([1, 8, 17, 64, 300, 1001]),
    padding=st.integers(0, 20),
    first=st.sampled_from([0, 100]),
    dtype=st.sampled_from(DTYPES),
    strided=st.booleans(),
)
def test_statistics_and_gradient(device, tokens, columns, padding, first, dtype, strided):
    logits = 5 * random((tokens, columns), dtype, device, tokens, strided)
    real = max(columns - padding, 0)
    generator = torch.Generator().manual_seed(tokens)
    labels = torch.randint(0, first + columns, (tokens,), generator=generator).to(device)
    partition, target = cross_entropy_statistics(logits, labels, first, real)
    exact = logits.double()
    close(partition, torch.logsumexp(exact[:, :real], 1), absolute=1e-5)
    here = (labels >= first) & (labels < first + real)
    expected_target = torch.where(here, exact.gather(1, (labels - first).clamp(0)[:, None]).squeeze(1), 0.0)
    assert torch.equal(target.double(), expected_target)
    scale = torch.rand(tokens, generator=generator).to(device).masked_fill(labels % 3 == 0, 0.0)
    total = torch.logsumexp(exact, 1).float()  # of more columns than this rank's: what vocab-parallel passes
    written = logits.contiguous().clone()
    cross_entropy_gradient_(written, labels, total, 2 * scale, scale, first, real)
    close(written, exact_gradient(exact, labels, total.double(), 2 * scale.double(), scale.double(), first, real), 2)


@pytest.mark.parametrize("kernels", instruction_sets(), ids=lambda module: module.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_instruction_set(monkeypatch, kernels, dtype):
    monkeypatch.setattr(library, "cpu_module", lambda: kernels)
    logits, labels = 9 * random((9, 205), dtype, "cpu", 0), torch.arange(9)
    partition, _ = cross_entropy_statistics(logits, labels, 0, 200)
    close(partition, torch.logsumexp(logits[:, :200].double(), 1))


@needs_cpu_kernels
def test_logits_of_minus_infinity():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf], [-torch.inf] * 3])
    partition, target = cross_entropy_statistics(logits, torch.tensor([1, 0]), 0, 3)
    assert partition.tolist() == [0.0, -torch.inf]
    assert target.tolist() == [0.0, -torch.inf]


@pytest.mark.parametrize("device", CUDA_DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [7, 300, 4096, 8192 + 8])
def test_a_nan_anywhere_is_seen_by_every_kind_of_thread(device, dtype, columns):
    """In a thread's first pack or a later one, alone or filling it, in the tail, in all of the row."""
    pack = 16 // dtype.itemsize
    real = columns - 3
    bad = [slice(n, n + 1) for n in (0, real // 2, real - 1)]
    bad += [slice(n, n + pack) for n in (0, real // 2 // pack * pack)] + [slice(0, real)]
    logits = random((len(bad) + 2, columns), dtype, device, columns)
    for row, place in zip(logits, bad, strict=False):
        row[place] = torch.nan
    logits[-2, : real // 2] = -torch.inf
    logits[-1, real:] = torch.nan  # padding does not count
    labels = torch.full((len(logits),), 3, device=device)
    partition, _ = cross_entropy_statistics(logits, labels, 0, real)
    assert partition[:-2].isnan().all()
    close(partition[-2:], torch.logsumexp(logits[-2:, :real].double(), 1), absolute=1e-5)
    elsewhere, _ = cross_entropy_statistics(logits, labels + columns, 0, real)
    assert torch.equal(elsewhere.isnan(), partition.isnan())


@pytest.mark.parametrize("device", CUDA_DEVICES)
def test_minus_infinity_is_the_sum_of_nothing(device):
    logits = torch.full((2, 64), -torch.inf, device=device)
    logits[0, 40] = 2.0
    partition, target = cross_entropy_statistics(logits, torch.tensor([40, 0], device=device), 0, 64)
    assert partition.tolist() == target.tolist() == [2.0, -torch.inf]


@needs_cpu_kernels
def test_not_a_number_is_seen():
    logits = torch.zeros(2, 40)
    logits[1, 17] = torch.nan
    partition, _ = cross_entropy_statistics(logits, torch.tensor([1, 0]), 0, 40)
    assert partition.isnan().tolist() == [False, True]


@needs_cpu_kernels
def test_operations_trace():
    logits, labels, ones = torch.randn(4, 6), torch.arange(4), torch.ones(4)
    torch.library.opcheck(cross_entropy_statistics, (logits, labels, 0, 5))
    torch.library.opcheck(cross_entropy_gradient_, (logits, labels, ones, ones, ones, 0, 5))
    with pytest.raises(ValueError, match="int64"):
        cross_entropy_statistics(logits, labels.int(), 0, 5)


def emulated_cross_entropy(dtype: torch.dtype) -> list[Tensor]:
    logits, labels, scale = random((5, 9000), dtype, "cpu", 1), torch.arange(5), torch.linspace(0.0, 1.0, 5)
    found = cross_entropy_statistics(logits, labels, 0, 8990)
    cross_entropy_gradient_(logits, labels, found[0], scale, scale, 0, 8990)
    return [*found, logits]
