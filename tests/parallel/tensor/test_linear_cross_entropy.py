"""Fused head and cross entropy in chunks against torch over whole logits in fp64, on one and on several tp ranks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.kernels import set_backend
from helpers.processes import run_processes
from steel_megatron.config import ParallelConfig
from steel_megatron.parallel.collectives import own_tokens
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor.linear_cross_entropy import (
    CHUNK_BYTES,
    linear_cross_entropy,
    needs_strips,
    strip_tokens,
)

SAMPLES, LENGTH, HIDDEN = 3, 12, 24
TOKENS = SAMPLES * LENGTH
GRADIENT = 3.0


def expected(x, weight, labels, mask, vocab_size, z_loss):
    """Loss, losses, and gradients of x and the weight, in fp64."""
    x, weight = (t.double().requires_grad_() for t in (x, weight))
    logits = (x.flatten(0, 1) @ weight.t())[:, :vocab_size]
    losses = F.cross_entropy(logits, labels, reduction="none") + z_loss * logits.logsumexp(1).square()
    losses = losses * mask
    losses.sum().backward(torch.tensor(GRADIENT, dtype=torch.float64))
    return losses.sum().detach(), losses.detach(), x.grad, weight.grad


def inputs(padded: int, vocab_size: int):
    generator = torch.Generator().manual_seed(vocab_size)
    x = torch.randn(SAMPLES, LENGTH, HIDDEN, generator=generator)
    weight = torch.randn(padded, HIDDEN, generator=generator)
    labels = torch.randint(0, vocab_size, (TOKENS,), generator=generator)
    return x, weight, labels, torch.rand(TOKENS, generator=generator) < 0.8


def compare(sequence_parallel: bool) -> None:
    size = torch.distributed.get_world_size()
    grid = Grid.create(ParallelConfig(tensor_model_parallel_size=size, sequence_parallel=sequence_parallel))
    for chunk, vocab_size, z_loss in [(5, 37, 0.0), (TOKENS, 79, 0.01), (100, 80, 0.0), (1, 41, 0.01)]:
        x, weight, labels, mask = inputs(80, vocab_size)
        total, losses, x_grad, weight_grad = expected(x, weight, labels, mask, vocab_size, z_loss)
        rows = slice(grid.tp.rank * 80 // size, (grid.tp.rank + 1) * 80 // size)
        own = torch.nn.Parameter(weight[rows].clone())
        own.main_grad = torch.ones_like(own)
        part = own_tokens(x, grid.tp) if sequence_parallel else x
        leaf = part.clone().requires_grad_()
        settings = {"vocab_size": vocab_size, "loss_gradient": GRADIENT, "z_loss": z_loss, "strip": chunk}
        found, each, z_losses = linear_cross_entropy(leaf, own, labels, mask, grid, **settings)
        assert bool(z_losses.any()) == (z_loss > 0)
        found.backward(torch.tensor(GRADIENT))
        torch.testing.assert_close(found.double(), total, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close((each + z_losses).double(), losses, rtol=1e-5, atol=1e-5)
        x_grad = own_tokens(x_grad, grid.tp) if sequence_parallel else x_grad
        torch.testing.assert_close(leaf.grad.double(), x_grad, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(own.main_grad.double() - 1, weight_grad[rows], rtol=1e-4, atol=1e-4)
        assert own.grad is None


@pytest.mark.parametrize(("tp", "sequence_parallel"), [(1, False), (2, False), (2, True), (4, True)])
def test_equals_torch_over_whole_logits(tp, sequence_parallel):
    run_processes(compare, tp, sequence_parallel)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_bf16_gradients_add_up_in_fp32(monkeypatch, backend):
    set_backend(monkeypatch, backend)
    x, weight, labels, mask = inputs(80, 80)
    x, weight = x.bfloat16(), weight.bfloat16()
    total, _, x_grad, weight_grad = expected(x, weight, labels, mask, 80, 0.0)
    own, leaf = torch.nn.Parameter(weight), x.clone().requires_grad_()
    own.main_grad = torch.zeros(weight.shape)
    found, *_ = linear_cross_entropy(
        leaf, own, labels, mask, Grid.single(), vocab_size=80, loss_gradient=GRADIENT, strip=7
    )
    found.backward(torch.tensor(GRADIENT))
    torch.testing.assert_close(found.double(), total, rtol=1e-2, atol=0)
    torch.testing.assert_close(leaf.grad.double(), x_grad, rtol=2e-2, atol=2e-1)
    torch.testing.assert_close(own.main_grad.double(), weight_grad, rtol=2e-2, atol=2e-1)


@pytest.mark.parametrize("backend", ["auto", "torch"])
@settings(max_examples=30, deadline=None)
@given(
    tokens=st.integers(1, 50),
    hidden=st.integers(1, 20),
    vocab_size=st.integers(1, 90),
    padding=st.integers(0, 9),
    chunk=st.integers(1, 60),
    counted=st.sampled_from([0.0, 0.5, 1.0]),
    z_loss=st.sampled_from([0.0, 1e-4, 0.1]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_any_shape_against_fp64(backend, tokens, hidden, vocab_size, padding, chunk, counted, z_loss, dtype):
    with pytest.MonkeyPatch.context() as patch:
        set_backend(patch, backend)
        generator = torch.Generator().manual_seed(tokens)
        x = torch.randn(1, tokens, hidden, generator=generator).to(dtype)
        weight = torch.randn(vocab_size + padding, hidden, generator=generator).to(dtype)
        labels = torch.randint(0, vocab_size, (tokens,), generator=generator)
        mask = torch.rand(tokens, generator=generator) < counted
        total, losses, x_grad, weight_grad = expected(x, weight, labels, mask, vocab_size, z_loss)
        own, leaf = torch.nn.Parameter(weight), x.clone().requires_grad_()
        own.main_grad = torch.zeros(weight.shape)
        found, each, z_losses = linear_cross_entropy(
            leaf,
            own,
            labels,
            mask,
            Grid.single(),
            vocab_size=vocab_size,
            loss_gradient=GRADIENT,
            z_loss=z_loss,
            strip=chunk,
        )
        found.backward(torch.tensor(GRADIENT))
        # Logits and their gradient are rounded to the type once each, and the gradient of x once more.
        unit = {torch.float32: 1e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
        size = hidden**0.5
        near = {"rtol": 2 * unit, "atol": 4 * unit * size}
        torch.testing.assert_close((each + z_losses).double(), losses, **near)
        torch.testing.assert_close(found.double(), total, rtol=2 * unit, atol=4 * unit * size * tokens**0.5)
        scale = GRADIENT * (1 + 20 * z_loss)
        torch.testing.assert_close(leaf.grad.double(), x_grad, rtol=2 * unit, atol=4 * unit * size * scale)
        torch.testing.assert_close(
            own.main_grad.double(), weight_grad, rtol=2 * unit, atol=4 * unit * size * scale * tokens**0.5
        )
        assert (own.main_grad[vocab_size:] == 0).all(), "padding has no gradient"
        assert (leaf.grad[0, ~mask] == 0).all(), "masked tokens have none"
        assert (each[~mask] == 0).all()


class LargestTensor(TorchDispatchMode):
    """Elements of the largest tensor that an operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("z_loss", [0.0, 1e-3])
def test_no_more_logits_than_those_of_a_chunk(monkeypatch, backend, z_loss):
    set_backend(monkeypatch, backend)
    tokens, vocabulary, chunk = 96, 400, 8
    own = torch.nn.Parameter(torch.randn(vocabulary, 4, dtype=torch.bfloat16))
    own.main_grad = torch.zeros(own.shape)
    leaf = torch.randn(1, tokens, 4, dtype=torch.bfloat16, requires_grad=True)
    labels, mask = torch.arange(tokens), torch.ones(tokens, dtype=torch.bool)
    with LargestTensor() as largest:
        total, *_ = linear_cross_entropy(
            leaf, own, labels, mask, Grid.single(), vocab_size=400, loss_gradient=1.0, z_loss=z_loss, strip=chunk
        )
        total.backward()
    assert chunk * vocabulary <= largest.elements < 2 * chunk * vocabulary


@settings(max_examples=100, deadline=None)
@given(
    tokens=st.integers(1, 1 << 18),
    vocabulary=st.integers(1, 300_000),
    width=st.sampled_from([2, 4]),
    device=st.sampled_from(["cpu", "cuda"]),
)
def test_chunks_fit_and_on_a_gpu_there_is_none_too_many(tokens, vocabulary, width, device):
    most = CHUNK_BYTES[device] // (vocabulary * width)
    chunk = strip_tokens(vocabulary, width, device, tokens)
    assert 1 <= chunk <= most
    if device == "cuda":
        whole = most - most % 256
        assert chunk % 256 == 0
        assert -(-tokens // chunk) == -(-tokens // whole)
        assert tokens <= chunk or chunk - 256 < tokens / -(-tokens // chunk) <= chunk
    else:
        assert chunk == most


def test_chunks_of_a_small_gpu_batch():
    """8 x 2048 tokens of the 1 B model: three chunks, not ten; a small micro-batch is whole."""
    assert strip_tokens(151_680, 2, "cuda", 16_384) == 5632
    assert strip_tokens(151_680, 2, "cuda", 4096) > 4096
    assert strip_tokens(1 << 24, 4, "cuda", 4096) == 32  # too wide for a multiple


def test_without_gradients_nothing_is_added():
    x, weight, labels, mask = inputs(80, 80)
    own = torch.nn.Parameter(weight)
    own.main_grad = torch.zeros(weight.shape)
    with torch.no_grad():
        settings = {"vocab_size": 80, "loss_gradient": 1.0, "strip": 7}
        total, *_ = linear_cross_entropy(x, own, labels, mask, Grid.single(), **settings)
    torch.testing.assert_close(total.double(), expected(x, weight, labels, mask, 80, 0.0)[0], rtol=1e-5, atol=1e-5)
    assert (own.main_grad == 0).all()


def test_no_tokens():
    own = torch.nn.Parameter(torch.randn(8, HIDDEN))
    own.main_grad = torch.zeros(8, HIDDEN)
    leaf = torch.randn(1, 0, HIDDEN, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    total, *_ = linear_cross_entropy(leaf, own, none, none.bool(), Grid.single(), vocab_size=8, loss_gradient=1.0)
    total.backward()
    assert total == 0
    assert leaf.grad.shape == (1, 0, HIDDEN)


def test_wrong_use_is_refused():
    x, weight, labels, mask = inputs(80, 80)
    own, leaf = torch.nn.Parameter(weight), x.requires_grad_()
    call = {"vocab_size": 80, "loss_gradient": 2.0}
    assert not needs_strips(own, 10**9)
    with pytest.raises(ValueError, match="no gradient buffer"):
        linear_cross_entropy(leaf, own, labels, mask, Grid.single(), **call)
    own.main_grad = torch.zeros(weight.shape)
    assert needs_strips(own, 10**9)
    assert not needs_strips(own, 10)
    total, *_ = linear_cross_entropy(leaf, own, labels, mask, Grid.single(), **call)
    total.backward(retain_graph=True)  # from 1 instead of 2: found without a wait, by the gradient norm
    assert leaf.grad.isnan().any()
    with pytest.raises(RuntimeError, match="second backward"):
        total.backward()


@pytest.mark.parametrize("gradient", [1.0 / 96, 1e-30, 65536.0 / 3])
def test_any_number_may_be_what_backward_starts_from(gradient):
    x, weight, labels, mask = inputs(80, 80)
    own, leaf = torch.nn.Parameter(weight), x.requires_grad_()
    own.main_grad = torch.zeros(weight.shape)
    total, *_ = linear_cross_entropy(leaf, own, labels, mask, Grid.single(), vocab_size=80, loss_gradient=gradient)
    total.backward(torch.full_like(total, gradient))
    assert leaf.grad.isfinite().all()
