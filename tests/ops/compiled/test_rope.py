"""Compiled RoPE: the numbers of the reference, out of place and in place, there and back."""

from __future__ import annotations

import pytest
import torch

from helpers.compiled_ops import check, check_fakes, dtypes, tensors
from steel_megatron.ops.compiled import rope
from steel_megatron.ops.rope import RopeSettings, Rotation, rotate, rotate_heads_, rotation

CPU = torch.device("cpu")


def by(length: int, rotary_dim: int = 8) -> Rotation:
    return rotation(RopeSettings(rotary_dim, 10000.0), length, CPU)


def heads(length: int):
    return lambda qkv: rotate_heads_(qkv * 1, by(length), [24, 8, 8], 8)


@dtypes
@pytest.mark.parametrize("rotary_dim", [8, 4])
def test_rope(as_written, dtype, rotary_dim):
    turn = by(6, rotary_dim)
    check("rope", lambda x: rotate(x, turn), tensors(dtype, (2, 6, 3, 8)))
    check("rope", lambda qkv: rotate_heads_(qkv * 1, turn, [24, 8, 8], 8), tensors(dtype, (2, 6, 40)))


def test_only_the_first_channels_turn_and_the_first_position_does_not(as_written):
    (x,) = tensors(torch.bfloat16, (2, 6, 3, 8))
    turn = by(6, 4)
    y = rope.rope(x, turn.cos, turn.sin, False)
    assert torch.equal(y[..., 4:], x[..., 4:])
    assert torch.equal(y[:, 0], x[:, 0])
    assert not torch.equal(y[:, 1:, :, :4], x[:, 1:, :, :4])


def test_turned_back_it_is_what_it_was(as_written):
    (x,) = tensors(torch.float32, (2, 6, 3, 8))
    turn = by(6)
    there = rope.rope(x, turn.cos, turn.sin, False)
    torch.testing.assert_close(rope.rope(there, turn.cos, turn.sin, True), x)


def test_in_place_it_writes_the_same_and_nothing_beside(as_written):
    """Heads of a wider projection, as they lie."""
    (wide,) = tensors(torch.bfloat16, (2, 6, 5, 8))
    turn, before = by(6), wide.clone()
    rope.rope_(wide[:, :, 1:4], turn.cos, turn.sin, False)
    assert torch.equal(wide[:, :, 1:4], rope.rope(before[:, :, 1:4], turn.cos, turn.sin, False))
    assert torch.equal(wide[:, :, [0, 4]], before[:, :, [0, 4]])


def test_fakes_say_what_comes_out(as_written):
    x, q, kv = tensors(torch.bfloat16, (2, 3, 3, 8), (2, 3, 4, 8), (2, 3, 2, 8))
    angles = torch.rand(1, 3, 1, 4), torch.rand(1, 3, 1, 4)
    check_fakes(
        (rope.rope, (x, *angles, False)),
        (rope.rope, (x.transpose(0, 1), torch.rand(3, 2, 1, 4), torch.rand(3, 2, 1, 4), True)),
        (rope.rope_heads_backward, (q, kv, kv, *angles)),
    )


@pytest.mark.slow
def test_what_is_compiled_computes_what_is_written_at_any_length():
    for length in (6, 9, 5, 30):  # one more compilation for any length
        check("rope", heads(length), tensors(torch.bfloat16, (2, length, 40)))
