"""Dropout masks are arithmetic: fair, independent of batching, and parts of one whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.ops.dropout import ATTENTION_OUTPUT, MLP_OUTPUT, DropoutKey, dropout

IDS = torch.tensor([0, 1, 2**40, 7])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_share_and_scale(rate):
    x = torch.ones(4, 256, 512)
    y = dropout(x, rate, DropoutKey(1, IDS), 3, MLP_OUTPUT)
    kept = y != 0
    assert kept.float().mean().item() == pytest.approx(1 - rate, abs=0.002)
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / (1 - rate)))
    for dim in (0, 1, 2):  # no sample, position or channel is favoured
        others = [d for d in range(3) if d != dim]
        assert (kept.float().mean(others) - (1 - rate)).abs().max() < 0.06


@pytest.mark.parametrize(
    ("seed", "ids", "layer", "site"),
    [(2, IDS, 3, MLP_OUTPUT), (1, IDS + 1, 3, MLP_OUTPUT), (1, IDS, 4, MLP_OUTPUT), (1, IDS, 3, ATTENTION_OUTPUT)],
)
def test_masks_differ_by_seed_sample_layer_and_site(seed, ids, layer, site):
    x = torch.ones(4, 64, 64)
    one = dropout(x, 0.5, DropoutKey(1, IDS), 3, MLP_OUTPUT) != 0
    other = dropout(x, 0.5, DropoutKey(seed, ids), layer, site) != 0
    assert (one == other).float().mean().item() == pytest.approx(0.5, abs=0.02)


@given(row=st.integers(0, 3), first=st.integers(0, 15), channel=st.integers(0, 31), length=st.integers(1, 16))
def test_any_slice_is_a_part_of_the_whole(row, first, channel, length):
    x = torch.randn(4, 16, 32)
    whole = dropout(x, 0.3, DropoutKey(5, IDS), 0, MLP_OUTPUT)
    part = dropout(
        x[row : row + 1, first : first + length, channel:],
        0.3,
        DropoutKey(5, IDS[row : row + 1]),
        0,
        MLP_OUTPUT,
        first_token=first,
        length=16,
        first_channel=channel,
    )
    assert torch.equal(part, whole[row : row + 1, first : first + length, channel:])


@pytest.mark.parametrize("parts", [2, 4, 8, 16])
def test_pieces_of_the_tokens_are_parts_of_the_whole(parts):
    """As sequence parallel cuts them: shaped (B, S/R, H), though a piece is no slice of each sample."""
    x = torch.randn(4, 16, 32)
    whole = dropout(x, 0.3, DropoutKey(5, IDS), 0, MLP_OUTPUT).flatten(0, 1).chunk(parts)
    for rank, piece in enumerate(x.flatten(0, 1).chunk(parts)):
        shaped, first = piece.view(4, 16 // parts, 32), rank * len(piece)
        part = dropout(shaped, 0.3, DropoutKey(5, IDS), 0, MLP_OUTPUT, first_token=first, length=16)
        assert torch.equal(part.flatten(0, 1), whole[rank])


def test_gradient_passes_where_the_value_did():
    x = torch.randn(4, 16, 32, requires_grad=True)
    y = dropout(x, 0.3, DropoutKey(5, IDS), 0, MLP_OUTPUT)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (y != 0) / 0.7)


def test_evaluation_drops_nothing():
    x = torch.randn(4, 16, 32)
    assert dropout(x, 0.3, None, 0, MLP_OUTPUT) is x
    assert dropout(x, 0.0, DropoutKey(5, IDS), 0, MLP_OUTPUT) is x
