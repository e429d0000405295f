"""Which linear layers another way of computing would take over."""

from __future__ import annotations

import torch

from helpers.tiny_gpt import tiny_config, tiny_gpt
from steel_megatron.parallel.tensor.kinds import Linears, linear_layers


def test_a_block_has_four_linear_layers_and_a_norm_has_none() -> None:
    model = tiny_gpt(tiny_config(num_layers=1, untie_embeddings_and_output_weights=False))
    assert len(linear_layers([model])) == 4
    assert linear_layers([torch.nn.Linear(2, 2)]) == []
    assert linear_layers([]) == []


def test_the_layers_as_they_are_need_nothing() -> None:
    linears = Linears()
    with linears.step(), linears.region() as nothing:
        assert nothing is None
