"""torch's attention, and its arithmetic in fp32 where a CPU has no fast products of 16-bit numbers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend

from helpers.kernels import close, random
from steel_megatron.ops import cpu_products, sdpa

TYPES = [torch.bfloat16, torch.float16]


@pytest.fixture
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cpu_products.VARIABLE, "fp32")


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention by its definition."""
    k, v = (x.repeat_interleave(q.shape[2] // x.shape[2], dim=2) for x in (k, v))
    scores = torch.einsum("bsnd,btnd->bnst", q, k) / q.shape[-1] ** 0.5
    future = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).triu(1)
    return torch.einsum("bnst,btnd->bsnd", scores.masked_fill(future, -torch.inf).softmax(-1), v)


def leaves(dtype: torch.dtype, length: int = 9, strided: bool = False) -> list[Tensor]:
    shapes = [(2, length, 4, 8), (2, length, 2, 8), (2, length, 2, 8)]
    return [random(shape, dtype, "cpu", seed, strided).requires_grad_() for seed, shape in enumerate(shapes)]


@pytest.mark.usefixtures("in_fp32")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("elements", [1, 1 << 20], ids=["head by head", "sample by sample"])
@pytest.mark.parametrize("strided", [False, True], ids=["dense", "strided"])
def test_attention_and_its_gradients(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, elements: int, strided: bool
) -> None:
    monkeypatch.setattr(sdpa, "ELEMENTS", elements)
    given = leaves(dtype, strided=strided)
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    ours, wanted = sdpa.causal(*given), attend(*exact)
    close(ours, wanted)
    upstream = random(tuple(ours.shape), dtype, "cpu", 9)
    found = torch.autograd.grad(ours, given, upstream)
    for ours_, right in zip(found, torch.autograd.grad(wanted, exact, upstream.double()), strict=True):
        assert ours_.dtype == dtype
        close(ours_, right, 2)
    with torch.no_grad():
        last = sdpa.masked(given[0][:, -1:], given[1], given[2], None)
    close(last, wanted[:, -1:])


@pytest.mark.usefixtures("in_fp32")
def test_only_16_bit_inputs_are_kept_for_backward() -> None:
    kept: list[Tensor] = []
    given = leaves(torch.bfloat16)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        sdpa.causal(*given)
    assert [x.data_ptr() for x in kept] == [x.data_ptr() for x in given]


@pytest.mark.usefixtures("in_fp32")
@pytest.mark.parametrize("shape", [(0, 9), (2, 0), (1, 1)], ids=["no sample", "no token", "one token"])
def test_borders(shape: tuple[int, int]) -> None:
    q = torch.ones(*shape, 4, 8, dtype=torch.bfloat16, requires_grad=True)
    kv = torch.ones(*shape, 2, 8, dtype=torch.bfloat16)
    y = sdpa.causal(q, kv, kv)
    assert y.shape == q.shape
    assert bool((y == 1).all())
    (grad,) = torch.autograd.grad(y.sum(), q)
    assert not grad.any()


@pytest.mark.parametrize("way", ["fp32", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mask_leaves_its_positions_alone(monkeypatch: pytest.MonkeyPatch, way: str, dtype: torch.dtype) -> None:
    monkeypatch.setenv(cpu_products.VARIABLE, way)
    q, k, v = (x.detach() for x in leaves(dtype))
    mask = torch.zeros(2, 1, 1, 9, dtype=torch.bool)
    mask[0, ..., 3], mask[1, ..., 2:5] = True, True
    y = sdpa.masked(q[:, -1:], k, v, mask)
    assert y.dtype == dtype
    torch.testing.assert_close(y[0, 0], v[0, 3].repeat_interleave(2, dim=0), rtol=1e-2, atol=1e-2)
    k[1, :2], v[1, 5:] = 100.0, 100.0
    again = sdpa.masked(q[:, -1:], k, v, mask)
    assert torch.equal(again, y)


@pytest.mark.usefixtures("in_fp32")
def test_the_kernel_that_is_asked_for_runs_in_both_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SDPBackend] = []
    select = sdpa.sdpa_kernel
    monkeypatch.setattr(sdpa, "sdpa_kernel", lambda kernel: asked.append(kernel) or select(kernel))
    given = leaves(torch.bfloat16)
    sdpa.causal(*given, SDPBackend.MATH).sum().backward()
    assert asked == [SDPBackend.MATH] * 4  # forward and backward, sample by sample
    asked.clear()
    sdpa.causal(*leaves(torch.float32), SDPBackend.MATH)
    assert asked == [SDPBackend.MATH]


@settings(max_examples=60)
@given(
    batch=st.integers(0, 3),
    length=st.integers(0, 5),
    kv_heads=st.integers(1, 6),
    group=st.integers(1, 4),
    elements=st.integers(1, 300),
)
def test_every_head_is_in_one_piece_with_its_keys(
    batch: int, length: int, kv_heads: int, group: int, elements: int
) -> None:
    q, k = torch.zeros(batch, length, kv_heads * group, 2), torch.zeros(batch, length, kv_heads, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sdpa, "ELEMENTS", elements)
        places = list(sdpa._pieces(q, k))
    for queries, keys in places:
        q[queries] += 1
        k[keys] += 1
        size = math.prod(q[queries].shape)
        assert size <= elements or q[queries].shape[2] == group
        assert (queries[2].start, queries[2].stop) == (keys[2].start * group, keys[2].stop * group)
    assert bool((q == 1).all())
    assert bool((k == 1).all())
