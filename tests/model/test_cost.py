"""The words in which layers tell what they take."""

from __future__ import annotations

import pytest

from helpers.tiny_gpt import tiny_config
from steel_megatron.model.cost import Flops, Kept, Sizes, dropout_kept, linear_input, norm_kept, total_bytes


def test_sizes_of_a_rank() -> None:
    sizes = Sizes.of(tiny_config(), tensor_parallel=4, sequence_parallel=True, seq_length=16)
    assert (sizes.H, sizes.F, sizes.N, sizes.K, sizes.D, sizes.S) == (32, 12, 1, 1, 8, 16)
    assert sizes.V == 128  # padded to a multiple of 4 × 128
    assert sizes.Hs == 8
    assert Sizes.of(tiny_config(), tensor_parallel=4).Hs == 32


def test_bytes_are_those_of_both_types() -> None:
    assert Kept("x", elements=3, other_bytes=5).bytes(2) == 11
    assert total_bytes([Kept("x", 3), Kept("y", other_bytes=5)], 4) == 17
    assert total_bytes([], 4) == 0


@pytest.mark.parametrize(("another", "bytes_"), [(False, 10), (True, 30)])
def test_a_linear_layer_in_8_bits_keeps_its_own_copy(another: bool, bytes_: int) -> None:
    sizes = Sizes.of(tiny_config(), eight_bit=True)
    assert total_bytes(linear_input("x", 10, sizes, read_by_another=another), 2) == bytes_
    assert total_bytes(linear_input("x", 10, Sizes.of(tiny_config()), read_by_another=another), 2) == 20


def test_what_is_made_again_is_not_kept() -> None:
    model, sizes = tiny_config(normalization="LayerNorm"), Sizes.of(tiny_config())
    kept, again = (total_bytes(norm_kept("x", model, sizes, again=flag), 2) for flag in (False, True))
    assert again == 2 * 32 + 2 * 4
    assert kept - again == 2 * 32
    assert dropout_kept("x", model, sizes) == []
    assert total_bytes(dropout_kept("x", tiny_config(hidden_dropout=0.1), sizes), 2) == 8


def test_flops_add_up_part_by_part() -> None:
    both = Flops(1, 2, 3, 4, 5) + Flops(10, 20, 30, 40, 50)
    assert both == Flops(11, 22, 33, 44, 55)
    assert (both.total, both.total_causal) == (110, 121)
