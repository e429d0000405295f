"""Stochastic rounding: right in the mean, and independent of how a tensor is cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steel_megatron.ops.rounding import Place, random_bits, round_stochastically, store

CPU = torch.device("cpu")


@pytest.mark.parametrize("value", [1.0 + 2**-8, -3.1415926, 1e-30, 5e-41, 1.0 + 127 * 2**-14])
def test_the_mean_is_right(value):
    values = torch.full((1 << 18,), value)
    noise = random_bits(Place.of("x", 0, (0, 0), (512, 512)), 1, values.numel(), CPU) & 0xFFFF
    rounded = round_stochastically(values, noise).double()
    assert len(rounded.unique()) == 2
    spacing = float(rounded.max() - rounded.min())
    # Five standard deviations of the mean of as many roundings.
    assert abs(float(rounded.mean()) - float(values[0])) < 5 * 0.5 * spacing / values.numel() ** 0.5


def test_numbers_that_bf16_has_stay_and_so_does_what_is_not_finite():
    values = torch.tensor([0.0, -0.0, 1.5, -(2.0**-130), torch.inf, -torch.inf, torch.nan])
    for noise in (0, 0x1234, 0xFFFF):
        rounded = round_stochastically(values, torch.full((7,), noise))
        assert torch.equal(rounded[:6], values[:6].bfloat16())
        assert rounded[6].isnan()


def test_bits_are_spread_evenly_and_do_not_go_with_their_neighbours():
    place = Place.of("blocks.0.mlp.up.weight", 7, (0, 0), (256, 1024))
    bits = random_bits(place, 3, 256 * 1024, CPU)
    later, other = (
        random_bits(place, 4, 256 * 1024, CPU),
        random_bits(Place.of("y", 7, (0, 0), (256, 1024)), 3, 1 << 18, CPU),
    )
    for numbers in (bits & 0xFFFF, bits >> 16):
        counts = torch.bincount(numbers >> 8, minlength=256).double()
        chi_square = float(((counts - 1024).square() / 1024).sum())
        assert 150 < chi_square < 380  # 255 degrees of freedom: mean 255, deviation 23
    halves = bits & 0xFFFF
    pairs = [
        (halves[1:], halves[:-1]),
        (halves[1024:], halves[:-1024]),
        (halves, bits >> 16),
        (bits, later),
        (bits, other),
    ]
    for one, two in pairs:
        correlation = torch.corrcoef(torch.stack([one.double(), two.double()]))[0, 1]
        assert abs(float(correlation)) < 0.01  # five standard deviations


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 30),
    row=st.integers(0, 19),
    column=st.integers(0, 29),
    offset=st.integers(0, 1 << 40),
)
def test_a_block_has_the_bits_of_its_place(rows, columns, row, column, offset):
    row, column = min(row, rows - 1), min(column, columns - 1)
    whole = random_bits(Place.of("w", 1, (offset, 5), (rows, columns)), 9, rows * columns, CPU).view(rows, columns)
    part = whole[row:, column:]
    place = Place.of("w", 1, (offset + row, 5 + column), part.shape)
    assert torch.equal(random_bits(place, 9, part.numel(), CPU).view_as(part), part)


def test_a_vector_has_the_bits_of_its_place():
    whole = random_bits(Place.of("norm", 1, (0,), (30,)), 9, 30, CPU)
    assert torch.equal(random_bits(Place.of("norm", 1, (11,), (7,)), 9, 7, CPU), whole[11:18])


def test_a_large_block_is_rounded_in_parts(monkeypatch):
    place, values = Place.of("w", 1, (3, 4), (50, 7)), torch.randn(50, 7)
    whole, parts = torch.empty(50, 7, dtype=torch.bfloat16), torch.empty(50, 7, dtype=torch.bfloat16)
    store(whole, values, place, 2, upper=True)
    monkeypatch.setattr("steel_megatron.ops.rounding._ELEMENTS", 23)
    store(parts, values, place, 2, upper=True)
    assert torch.equal(whole, parts)
