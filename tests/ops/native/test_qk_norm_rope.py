"""The kernel for norms of query and key heads with RoPE against fp64: partial and no rotation, packed positions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.exact_rope import angles, exact_rope
from helpers.kernels import DEVICES, DTYPES, close, instruction_sets, needs_cpu_kernels, random
from steel_megatron.ops.native import library
from steel_megatron.ops.native.qk_norm_rope import qk_norm_rope, qk_norm_rope_backward

EPSILON = 1e-5


def exact(qkv, query_weight, key_weight, cosine, sine, queries):
    """Queries, keys and values in the type of ``qkv``."""
    heads = qkv.unflatten(-1, (-1, len(query_weight)))
    keys = (heads.shape[2] - queries) // 2
    q, k, v = heads.split([queries, keys, keys], dim=2)
    q, k = (
        x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * w
        for x, w in ((q, query_weight), (k, key_weight))
    )
    if cosine is None:
        return q, k, v
    return exact_rope(q, cosine, sine), exact_rope(k, cosine, sine), v


def check(device, dtype, batch, length, queries, keys, half, rest, tables=1, strided=False):
    size = 2 * half + rest
    qkv = random((batch, length, (queries + 2 * keys) * size), dtype, device, length)
    weights = [random((size,), dtype, device, n) for n in (1, 2)]
    cosine, sine = angles(tables, length, half, device) if half else (None, None)
    # As attention returns them: heads before positions, or every second channel.
    grads = [
        random((batch, heads, length, size), dtype, device, n, strided).transpose(1, 2)
        for n, heads in enumerate((queries, keys, keys))
    ]
    heads, rstd = qk_norm_rope(qkv, *weights, cosine, sine, queries, EPSILON)
    found = qk_norm_rope_backward(*grads, qkv, *weights, rstd, cosine, sine)
    leaves = [tensor.double().requires_grad_() for tensor in (qkv, *weights)]
    doubles = [None if t is None else t.double() for t in (cosine, sine)]
    expected = exact(*leaves, *doubles, queries)
    close(heads[:, :, :queries], expected[0])
    close(heads[:, :, queries:], expected[1])
    torch.autograd.backward(expected, [grad.double() for grad in grads])
    close(found[0], leaves[0].grad, absolute=1e-5)
    assert torch.equal(found[0].unflatten(-1, (-1, size))[:, :, queries + keys :], grads[2])  # copied
    for ours, leaf in zip(found[1:], leaves[1:], strict=True):
        close(ours, leaf.grad, factor=2, absolute=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(0, 3),
    length=st.integers(0, 40),
    queries=st.sampled_from([1, 3, 4, 16]),
    keys=st.integers(1, 3),
    half=st.sampled_from([0, 1, 3, 8, 16, 32, 64]),
    rest=st.sampled_from([0, 1, 16]),
    packed=st.booleans(),
    strided=st.booleans(),
    dtype=st.sampled_from(DTYPES),
)
def test_against_fp64(device, batch, length, queries, keys, half, rest, packed, strided, dtype):
    if half == 0:
        rest += 8
    check(device, dtype, batch, length, queries, keys, half, rest, batch if packed and batch else 1, strided)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("half", "rest"), [(48, 1), (40, 500), (300, 0), (0, 37)])
def test_heads_wider_than_the_registers_of_a_group(device, dtype, half, rest):
    check(device, dtype, 2, 5, 3, 2, half, rest)


@pytest.mark.parametrize("device", DEVICES)
def test_more_tokens_than_blocks(device):
    check(device, torch.bfloat16, 3, 411, 4, 1, 16, 0)


@needs_cpu_kernels
def test_results_do_not_depend_on_threads():
    qkv, weight = random((3, 57, 5 * 16), torch.bfloat16, "cpu", 0), random((16,), torch.bfloat16, "cpu", 1)
    grads = [random((3, 57, heads, 16), torch.bfloat16, "cpu", heads) for heads in (3, 1, 1)]
    cosine, sine = angles(1, 57, 8, "cpu")
    found, threads = [], torch.get_num_threads()
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        heads, rstd = qk_norm_rope(qkv, weight, weight, cosine, sine, 3, EPSILON)
        found.append((heads, rstd, *qk_norm_rope_backward(*grads, qkv, weight, weight, rstd, cosine, sine)))
    torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("kernels", instruction_sets(), ids=lambda module: module.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_instruction_set(monkeypatch, kernels, dtype):
    monkeypatch.setattr(library, "cpu_module", lambda: kernels)
    check("cpu", dtype, 2, 9, 4, 2, 20, 3)


@needs_cpu_kernels
def test_operations_trace_and_refuse():
    qkv, weight, (cosine, sine) = torch.randn(2, 3, 6 * 8), torch.rand(8), angles(1, 3, 4, "cpu")
    grads = [torch.randn(2, 3, heads, 8) for heads in (4, 1, 1)]
    torch.library.opcheck(qk_norm_rope, (qkv, weight, weight, cosine, sine, 4, 1e-5))
    torch.library.opcheck(qk_norm_rope, (qkv, weight, weight, None, None, 4, 1e-5))
    rstd = torch.rand(2, 3, 5)
    torch.library.opcheck(qk_norm_rope_backward, (*grads, qkv, weight, weight, rstd, cosine, sine))
    with pytest.raises(ValueError, match="angles of shape"):
        qk_norm_rope(qkv, weight, weight, cosine[:, :2], sine[:, :2], 4, 1e-5)
    with pytest.raises(ValueError, match="48 channels are not 5 query heads of 8"):
        qk_norm_rope(qkv, weight, weight, cosine, sine, 5, 1e-5)
    with pytest.raises(ValueError, match="a gradient of"):
        qk_norm_rope_backward(grads[0][:, :2], *grads[1:], qkv, weight, weight, rstd, cosine, sine)


def emulated_normed_rotation(dtype: torch.dtype) -> list[Tensor]:
    queries, keys, size = 4, 2, 48
    qkv = random((2, 300, (queries + 2 * keys) * size), dtype, "cpu", 1)
    weights = [random((size,), dtype, "cpu", n) for n in (2, 3)]
    cosine, sine = angles(2, 300, 16, "cpu")
    heads, rstd = qk_norm_rope(qkv, *weights, cosine, sine, queries, 1e-5)
    grads = [random((2, 300, n, size), dtype, "cpu", n) for n in (queries, keys, keys)]
    return [heads, rstd, *qk_norm_rope_backward(*grads, qkv, *weights, rstd, cosine, sine)]
