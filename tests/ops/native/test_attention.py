"""The attention kernel against fp64: documents of any length, grouped heads, strided heads, every instruction set."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.kernels import DTYPES, close, instruction_sets, needs_cpu_kernels, random
from steel_megatron.ops.native import library
from steel_megatron.ops.native.attention import attention, fits

# Probabilities, their gradients and the output are rounded before they are multiplied, and the gradients of queries and
# keys are differences of such products: errors are as large as roundings of the terms, which are of order one here.
ROUNDINGS = 4.0


def exact_attention(q_TND, k_TKD, v_TKD, starts):
    """fp64, with every document's scores written out. → ((T, N, D), (N, T))."""
    repeat = q_TND.shape[1] // k_TKD.shape[1]
    tokens = torch.arange(len(q_TND))
    document = torch.bucketize(tokens, starts.long()[1:], right=True)
    allowed = (tokens <= tokens.unsqueeze(1)) & (document == document.unsqueeze(1))
    k, v = (x.repeat_interleave(repeat, 1) for x in (k_TKD, v_TKD))
    scores = torch.einsum("tnd,snd->nts", q_TND, k) / math.sqrt(q_TND.shape[-1])
    scores = scores.masked_fill(~allowed, -math.inf)
    return torch.einsum("nts,snd->tnd", scores.softmax(-1), v), scores.logsumexp(-1)


def starts_of(lengths):
    return torch.tensor([0, *lengths]).cumsum(0).int()


def check(q, k, v, starts, dtype):
    given_heads = [x.detach().requires_grad_() for x in (q, k, v)]
    y, partition = attention(*given_heads, starts)
    grad = random(tuple(y.shape), dtype, "cpu", 7)
    y.backward(grad)
    exact_heads = [x.detach().double().requires_grad_() for x in (q, k, v)]
    expected, expected_partition = exact_attention(*exact_heads, starts)
    expected.backward(grad.double())
    assert y.dtype == dtype
    assert partition.dtype == torch.float32
    close(partition, expected_partition, absolute=1e-5)
    pairs = [(y, expected), *((one.grad, other.grad) for one, other in zip(given_heads, exact_heads, strict=True))]
    for ours, exact in pairs:
        largest = max(float(exact.detach().abs().max()) if exact.numel() else 0.0, 1.0)
        close(ours, exact, ROUNDINGS, absolute=ROUNDINGS * largest * torch.finfo(dtype).eps / 2 + 1e-6)


@needs_cpu_kernels
@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.one_of(st.integers(0, 9), st.sampled_from([63, 64, 65, 130])), max_size=4),
    groups=st.integers(1, 3),
    repeat=st.integers(1, 3),
    size=st.sampled_from([1, 8, 16, 33, 64]),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(["contiguous", "fused", "strided"]),
)
def test_documents(lengths, groups, repeat, size, dtype, layout):
    tokens, heads = sum(lengths), groups * repeat
    if layout == "fused":  # as they lie in the output of one projection
        fused = random((tokens, heads + 2 * groups, size), dtype, "cpu", tokens)
        q, k, v = fused.split([heads, groups, groups], dim=1)
    else:
        strided = layout == "strided"
        q, k, v = (
            random((tokens, n, size), dtype, "cpu", seed, strided) for seed, n in enumerate((heads, groups, groups))
        )
    check(q, k, v, starts_of(lengths), dtype)


@pytest.mark.parametrize("kernels", instruction_sets(), ids=lambda module: module.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_instruction_set(monkeypatch, kernels, dtype):
    monkeypatch.setattr(library, "cpu_module", lambda: kernels)
    for size in (24, 128):
        q, k, v = (random((200, n, size), dtype, "cpu", n) for n in (4, 2, 2))
        check(q, k, v, starts_of([70, 130]), dtype)


@needs_cpu_kernels
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_do_not_depend_on_threads_or_on_the_future(dtype):
    q, k, v = (random((150, n, 32), dtype, "cpu", n) for n in (6, 2, 2))
    starts, threads = starts_of([50, 100]), torch.get_num_threads()
    grad, results = random((150, 6, 32), dtype, "cpu", 1), []
    for count in (1, 3):
        torch.set_num_threads(count)
        heads = [x.detach().requires_grad_() for x in (q, k, v)]
        y, _ = attention(*heads, starts)
        results.append((y, *torch.autograd.grad(y, heads, grad)))
    torch.set_num_threads(threads)
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    k[120:], v[120:] = 100.0, -100.0
    assert torch.equal(attention(q, k, v, starts)[0][:120], results[0][0][:120])


@needs_cpu_kernels
def test_large_scores():
    """Differences of hundreds between scores neither overflow nor lose the row."""
    q, k, v = (random((130, 1, 16), torch.float32, "cpu", n) * scale for n, scale in ((0, 60.0), (1, 60.0), (2, 1.0)))
    starts = starts_of([130])
    expected, _ = exact_attention(q.double(), k.double(), v.double(), starts)
    close(attention(q, k, v, starts)[0], expected, 100.0, absolute=1e-3)


@needs_cpu_kernels
def test_operation_traces_and_refuses():
    q, k, v = (random((10, n, 8), torch.float32, "cpu", n).requires_grad_() for n in (4, 2, 2))
    starts = starts_of([3, 7])
    torch.library.opcheck(attention, (q, k, v, starts))
    assert fits(q, k, v)
    assert not fits(q.double(), k.double(), v.double())
    with pytest.raises(ValueError, match="heads of shape"):
        attention(q, k[:, :, :4], v, starts)
    with pytest.raises(ValueError, match="it must be int32, from 0 to 10 tokens"):
        attention(q, k, v, starts_of([3, 8]))
    with pytest.raises(ValueError, match="must be in order"):
        attention(q, k, v, torch.tensor([0, 9, 3, 10], dtype=torch.int32))
