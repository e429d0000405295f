"""Compiled norms of heads with RoPE: the numbers of the references, and what the projection's gradient is made of."""

from __future__ import annotations

import pytest
import torch

from helpers.compiled_ops import check, check_fakes, dtypes, tensors
from steel_megatron.ops.compiled import qk_norm_rope as compiled
from steel_megatron.ops.qk_norm_rope import qk_norm_rope
from steel_megatron.ops.rope import RopeSettings, Rotation, rotation

QUERIES, KEYS, SIZE = 4, 2, 8


def by(length: int, rotary_dim: int) -> Rotation | None:
    return rotation(RopeSettings(rotary_dim, 10000.0), length, torch.device("cpu")) if rotary_dim else None


def arguments(dtype: torch.dtype, length: int = 6):
    return tensors(dtype, (2, length, (QUERIES + 2 * KEYS) * SIZE), (SIZE,), (SIZE,))


@dtypes
@pytest.mark.parametrize("rotary_dim", [8, 4, 0])
def test_norms_of_heads_with_rope(as_written, dtype, rotary_dim):
    turn = by(6, rotary_dim)
    check("qk_norm_rope", lambda x, q, k: qk_norm_rope(x, q, k, 1e-5, turn, QUERIES), arguments(dtype))


def test_queries_and_keys_have_their_own_weights_and_values_none(as_written):
    qkv, query, key = arguments(torch.float32)
    heads, rstd = compiled.qk_norm_rope(qkv, query, key, None, None, QUERIES, 0.0)
    given = qkv.unflatten(-1, (-1, SIZE))[:, :, : QUERIES + KEYS]
    weights = torch.stack([query] * QUERIES + [key] * KEYS)
    torch.testing.assert_close(rstd, given.square().mean(-1).rsqrt())
    torch.testing.assert_close(heads, given * rstd.unsqueeze(-1) * weights)


def test_the_gradient_of_values_is_a_copy(as_written):
    """It is not rounded again; heads of zeros have none of their own, and cost no others."""
    qkv, query, key = arguments(torch.bfloat16)
    qkv[0, 0, :SIZE] = 0.0
    turn = by(6, 8)
    assert turn is not None
    _, rstd = compiled.qk_norm_rope(qkv, query, key, turn.cos, turn.sin, QUERIES, 1e-5)
    shapes = [(2, 6, heads, SIZE) for heads in (QUERIES, KEYS, KEYS)]
    grads = tensors(torch.bfloat16, *shapes)
    found, of_query, of_key = compiled.qk_norm_rope_backward(*grads, qkv, query, key, rstd, turn.cos, turn.sin)
    assert torch.equal(found[..., -KEYS * SIZE :], grads[2].flatten(2))
    assert all(tensor.isfinite().all() for tensor in (found, of_query, of_key))


def test_fakes_say_what_comes_out(as_written):
    heads, size, *grads = tensors(torch.bfloat16, (2, 3, 64), (8,), (2, 3, 4, 8), (2, 3, 2, 8), (2, 3, 2, 8))
    angles = torch.rand(1, 3, 1, 4), torch.rand(1, 3, 1, 4)
    check_fakes(
        (compiled.qk_norm_rope, (heads, size, size, *angles, 4, 1e-5)),
        (compiled.qk_norm_rope, (heads, size, size, None, None, 4, 1e-5)),
        (compiled.qk_norm_rope_backward, (*grads, heads, size, size, torch.rand(2, 3, 6), *angles)),
    )


@pytest.mark.slow
def test_what_is_compiled_computes_what_is_written_at_any_length():
    for length in (6, 9, 5, 30):  # one more compilation for any length
        turn = by(length, 8)
        given = arguments(torch.bfloat16, length)
        check("qk_norm_rope", lambda qkv, q, k, turn=turn: qk_norm_rope(qkv, q, k, 1e-5, turn, QUERIES), given)
