"""RoPE against transformers' frequencies, and as a rotation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from helpers.exact_rope import angles, exact_rope
from helpers.kernels import DTYPES, GPU, close, needs_cpu_kernels, random
from steel_megatron.ops import backends
from steel_megatron.ops.rope import RopeSettings, Rotation, frequencies, rotate, rotate_heads_, rotation

SCALINGS = {
    "linear": {"factor": 4.0},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 512,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 256},
}


@pytest.mark.parametrize("kind", sorted(SCALINGS))
@pytest.mark.parametrize("size", [32, 128])
def test_scaled_frequencies_are_transformers(kind, size):
    options = SCALINGS[kind]
    theirs = LlamaConfig(
        hidden_size=size * 4,
        num_attention_heads=4,
        head_dim=size,
        max_position_embeddings=2048,
        rope_scaling={"rope_type": kind, "rope_theta": 20000.0, **options},
        rope_theta=20000.0,
    )
    expected, factor = ROPE_INIT_FUNCTIONS[kind](theirs, torch.device("cpu"))
    ours = RopeSettings(
        rotary_dim=size,
        base=20000.0,
        scaling_type=kind,
        factor=options["factor"],
        original_max_position_embeddings=options.get("original_max_position_embeddings", 2048),
    )
    found, found_factor = frequencies(ours)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    assert found_factor == pytest.approx(factor)


@pytest.mark.parametrize("rotated", [8, 16])
def test_scores_depend_on_the_distance_alone(rotated):
    settings = RopeSettings(rotary_dim=rotated, base=10000.0)
    q, k = torch.randn(2, 1, 1, 1, 16).unbind(0)

    def score(i: int, j: int) -> torch.Tensor:
        at = [rotation(settings, torch.tensor([[place]]), torch.device("cpu")) for place in (i, j)]
        return (rotate(q, at[0]) * rotate(k, at[1])).sum()

    torch.testing.assert_close(score(3, 1), score(103, 101), rtol=1e-4, atol=1e-4)
    assert abs(score(3, 1) - score(9, 1)) > 1e-3


def test_positions_may_be_given_or_consecutive():
    settings = RopeSettings(rotary_dim=8, base=10000.0)
    x = torch.randn(2, 300, 3, 12)
    consecutive = rotate(x, rotation(settings, 300, torch.device("cpu")))
    positions = torch.arange(300).expand(2, 300)
    torch.testing.assert_close(rotate(x, rotation(settings, positions, torch.device("cpu"))), consecutive)
    later = rotate(x[:, 40:], rotation(settings, 260, torch.device("cpu"), first=40))
    torch.testing.assert_close(later, consecutive[:, 40:])
    assert torch.equal(consecutive[..., 8:], x[..., 8:])


def test_gradient_turns_back():
    settings = RopeSettings(rotary_dim=16, base=10000.0)
    x = torch.randn(2, 9, 3, 16, dtype=torch.float64, requires_grad=True)
    at = rotation(settings, 9, torch.device("cpu"))
    grad = torch.randn(2, 9, 3, 16, dtype=torch.float64)
    rotate(x, at).backward(grad)
    torch.testing.assert_close(rotate(x.grad, at).detach(), grad, rtol=1e-5, atol=1e-5)  # a rotation is orthogonal


@pytest.mark.parametrize(
    ("device", "backend"),
    [
        pytest.param("cpu", "steel", marks=needs_cpu_kernels),
        ("cpu", "torch"),
        pytest.param("cuda", "steel", marks=GPU.marks),
        pytest.param("cuda", "torch", marks=GPU.marks),
    ],
)
@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(0, 3),
    length=st.integers(0, 9),
    heads=st.integers(1, 4),
    kv_heads=st.integers(1, 3),
    half=st.sampled_from([1, 3, 8, 16]),
    rest=st.sampled_from([0, 1, 16]),
    packed=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    strided=st.booleans(),
)
def test_heads_in_place(device, backend, batch, length, heads, kv_heads, half, rest, packed, dtype, strided):
    size = 2 * half + rest
    sizes = [heads * size, kv_heads * size, kv_heads * size]
    leaf = random((batch, length, sum(sizes)), dtype, device, length).requires_grad_()
    cosine, sine = angles(batch if packed and batch else 1, length, half, device)
    projected = leaf * 1.0  # an output that nobody else reads
    with backends.forced("rope", backend, device):
        parts = rotate_heads_(projected, Rotation(cosine, sine), sizes, size)
    assert all(part.untyped_storage().data_ptr() == projected.untyped_storage().data_ptr() for part in parts)
    # As attention hands gradients back: heads before positions.
    grads = [random((p.shape[0], p.shape[2], p.shape[1], size), dtype, device, n, strided) for n, p in enumerate(parts)]
    grads = [grad.transpose(1, 2) for grad in grads]
    with backends.forced("rope", backend, device):
        torch.autograd.backward(parts, grads)
    exact = leaf.detach().double().requires_grad_()
    expected = [part.unflatten(-1, (-1, size)) for part in exact.split(sizes, dim=-1)]
    expected[:2] = [exact_rope(part, cosine.double(), sine.double()) for part in expected[:2]]
    torch.autograd.backward(expected, [grad.double() for grad in grads])
    for ours, theirs in zip(parts, expected, strict=True):
        close(ours, theirs)
    close(leaf.grad, exact.grad)


def test_a_reader_of_the_projection_is_told():
    leaf = torch.randn(1, 3, 24, requires_grad=True)
    projected = leaf.exp()  # keeps its result
    parts = rotate_heads_(projected, Rotation(*angles(1, 3, 4, "cpu")), [8, 8, 8], 8)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        sum(part.sum() for part in parts).backward()
