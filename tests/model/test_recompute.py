"""Recomputation changes what is kept and nothing else."""

from __future__ import annotations

import pytest
import torch

from helpers.tiny_gpt import random_tokens, tiny_config, tiny_gpt
from steel_megatron.model.recompute import Recompute
from steel_megatron.ops.dropout import DropoutKey

BLOCKS = list(range(5))


@pytest.mark.parametrize(
    ("recompute", "groups"),
    [
        (Recompute(), [(BLOCKS, False)]),
        (Recompute("selective"), [(BLOCKS, False)]),
        (Recompute("full"), [([i], True) for i in BLOCKS]),
        (Recompute("full", "uniform", 2), [([0, 1], True), ([2, 3], True), ([4], True)]),
        (Recompute("full", "uniform", 9), [(BLOCKS, True)]),
        (Recompute("full", "block"), [([i], True) for i in BLOCKS]),
        (Recompute("full", "block", 2), [([0], True), ([1], True), ([2, 3, 4], False)]),
        (Recompute("full", "block", 9), [([i], True) for i in BLOCKS]),
    ],
)
def test_which_blocks_are_computed_again(recompute, groups):
    assert list(recompute.groups(BLOCKS)) == groups


@pytest.mark.parametrize("recompute", [Recompute("full", "uniform", 2), Recompute("full", "block", 2)])
def test_gradients_with_dropout_are_the_same_to_the_bit(recompute):
    config = tiny_config(num_layers=5, hidden_dropout=0.2, attention_dropout=0.2)
    tokens, key = random_tokens(2, 12), DropoutKey(7, torch.tensor([5, 9]))
    found = []
    for each in (Recompute(), recompute):
        model = tiny_gpt(config, recompute=each)
        model.loss(tokens, tokens.roll(-1, 1), torch.ones_like(tokens, dtype=torch.bool), dropout=key)[0].backward()
        found.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
