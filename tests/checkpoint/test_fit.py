"""What is said where a checkpoint is not what the ranks ask for."""

from __future__ import annotations

import pytest

from steel_megatron.checkpoint.fit import misfits, piece_of

STORED = {"model.a": (4, 2), "model.b": (3,), "optimizer.exp_avg.a": (4, 2)}


@pytest.mark.parametrize(
    ("asked", "whole", "found"),
    [
        ([STORED], True, []),
        ([{"model.a": (4, 2)}, {"model.b": (3,)}], True, []),  # state may be left over, pieces of the model not
        ([{"model.a": (4, 2)}], False, []),
        ([{"model.a": (4, 2)}], True, ["the model has no b"]),
        ([{"optimizer.master.b": (3,)}], False, ["optimizer.master.b is missing"]),
        ([{"model.b": (4,)}], False, ["model.b is (3,), the model needs (4,)"]),
        ([{"model.b": (3,)}, {"model.b": (5,)}], False, ["model.b is asked for as (3,) and as (5,)"]),
    ],
)
def test_every_difference_is_named(asked, whole, found):
    assert misfits(STORED, asked, whole) == found


@pytest.mark.parametrize("name", ["model.blocks.0.norm.weight", "optimizer.exp_avg.blocks.0.norm.weight"])
def test_state_belongs_to_its_piece(name):
    assert piece_of(name) == "blocks.0.norm.weight"
