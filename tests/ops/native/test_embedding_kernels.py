"""The embedding's gradient against fp64: repeated ids, ids of other ranks, any type, no tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.kernels import DEVICES, DTYPES, close, instruction_sets, needs_cpu_kernels, random
from steel_megatron.ops.embedding import embedding_gradient_
from steel_megatron.ops.native import library


def exact(target, grad, ids):
    result = target.double().clone()
    for row, number in zip(grad.double(), ids.tolist(), strict=True):
        if 0 <= number < len(target):
            result[number] += row
    return result


def some_ids(tokens, low, high, device, seed=0):
    return torch.randint(low, high, (tokens,), generator=torch.Generator().manual_seed(seed)).to(device)


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(0, 200),
    rows=st.sampled_from([1, 2, 7, 150]),
    hidden=st.sampled_from([1, 7, 8, 64, 257, 511, 512, 520]),
    outside=st.integers(0, 9),
    dtype=st.sampled_from(DTYPES),
    fp32=st.booleans(),
    strided=st.booleans(),
)
def test_against_fp64(device, tokens, rows, hidden, outside, dtype, fp32, strided):
    grad = random((tokens, hidden), dtype, device, tokens, strided)
    target = random((rows, hidden), torch.float32 if fp32 else dtype, device, rows)
    ids = some_ids(tokens, -outside, rows + outside, device, hidden)
    expected = exact(target, grad, ids)
    left = [n for n in range(rows) if n not in set(ids.tolist())]
    untouched = target[left]
    # Summands cancel: fp32 rounds sums on the way, which are larger than the last.
    largest = float(exact(target.abs(), grad.abs(), ids).max())
    embedding_gradient_(target, grad, ids)
    close(target, expected, absolute=1e-6 + 2**-23 * largest)
    assert torch.equal(target[left], untouched), "rows without an id are not touched"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("target_dtype", [torch.float32, torch.bfloat16])
def test_one_id_for_all_and_runs_that_end_at_every_place(device, target_dtype):
    """Runs of 1 to 70 equal ids: inside a block of sorted ids, at its borders, and over several."""
    lengths = torch.arange(1, 71)
    ids = torch.arange(70).repeat_interleave(lengths)[torch.randperm(int(lengths.sum()))].to(device)
    grad = torch.ones(len(ids), 72, dtype=torch.bfloat16, device=device)
    target = torch.zeros(70, 72, dtype=target_dtype, device=device)
    embedding_gradient_(target, grad, ids)
    assert torch.equal(target[:, 5].cpu(), lengths.to(target_dtype))
    embedding_gradient_(target, grad, torch.full_like(ids, 3))
    assert target[3].unique().tolist() == [torch.tensor(4.0 + len(ids)).to(target_dtype)]


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_bits_at_each_call(device):
    grad, ids = random((3000, 200), torch.bfloat16, device, 1), some_ids(3000, 0, 40, device)
    found = []
    threads = torch.get_num_threads()
    for count in (1, 2, 5, 3):
        torch.set_num_threads(count)
        found.append(torch.zeros(40, 200, device=device))
        embedding_gradient_(found[-1], grad, ids)
    torch.set_num_threads(threads)
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("kernels", instruction_sets(), ids=lambda module: module.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_instruction_set(monkeypatch, kernels, dtype):
    monkeypatch.setattr(library, "cpu_module", lambda: kernels)
    grad, ids, target = random((60, 77), dtype, "cpu", 1), some_ids(60, -1, 12, "cpu"), torch.zeros(11, 77)
    expected = exact(target, grad, ids)
    embedding_gradient_(target, grad, ids)
    close(target, expected)


@needs_cpu_kernels
def test_more_elements_than_32_bits_count():
    # numpy's zeros take memory only where they are touched.
    target = torch.from_numpy(np.zeros((2**20 + 3, 2**11), dtype=np.float32))
    ids = torch.tensor([2**20 + 2, 5, 2**20 + 2])
    embedding_gradient_(target, torch.ones(3, 2**11, dtype=torch.bfloat16), ids)
    assert target[2**20 + 2].unique().tolist() == [2.0]
    assert target[5].unique().tolist() == [1.0]


@needs_cpu_kernels
def test_the_operation_traces_and_refuses():
    target, grad, ids = torch.zeros(4, 6), torch.ones(3, 6, dtype=torch.bfloat16), torch.tensor([1, 1, 9])
    torch.library.opcheck(embedding_gradient_, (target, grad, ids))
    with pytest.raises(ValueError, match="int64"):
        embedding_gradient_(target, grad, ids.int())
    with pytest.raises(ValueError, match="each has a row"):
        embedding_gradient_(target, grad[:2], ids)
    with pytest.raises(ValueError, match="fp32 or of its type"):
        embedding_gradient_(target.half(), grad, ids)
    with pytest.raises(ValueError, match="not contiguous"):
        embedding_gradient_(torch.zeros(6, 4).t(), grad, ids)


def emulated_embedding(dtype: torch.dtype) -> list[Tensor]:
    grad, target = random((300, 1040), dtype, "cpu", 1), random((7, 1040), dtype, "cpu", 2)
    embedding_gradient_(target, grad, torch.arange(300) % 9 - 1)
    return [target]
