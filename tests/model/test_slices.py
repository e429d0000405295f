"""The model's weights as a checkpoint names them."""

from __future__ import annotations

import torch

from helpers.tiny_gpt import VOCABULARY, tiny_config, tiny_gpt
from steel_megatron.model.slices import WEIGHT, model_slices


def test_every_weight_has_a_name_and_is_set_through_it() -> None:
    model = tiny_gpt(tiny_config(num_layers=1))
    slices = model_slices([model])
    assert all(name.startswith(WEIGHT) for name in slices)
    assert WEIGHT + "blocks.0.attention.query.weight" in slices
    rows = slices[WEIGHT + "embedding.weight"].tensor
    with torch.no_grad():
        rows.fill_(7.0)
    assert int((torch.cat([p.detach().flatten() for p in model.parameters()]) == 7.0).sum()) == rows.numel()


def test_a_vocabularys_padding_is_left_out() -> None:
    config = tiny_config(num_layers=1)
    model = tiny_gpt(config)
    assert config.padded_vocab_size() > VOCABULARY
    assert model_slices([model])[WEIGHT + "embedding.weight"].tensor.shape == (VOCABULARY, config.hidden_size)
    total = sum(piece.tensor.numel() for piece in model_slices([model]).values())
    matrices = 1 if config.tied else 2
    padding = matrices * (config.padded_vocab_size() - VOCABULARY) * config.hidden_size
    assert total == sum(parameter.numel() for parameter in model.parameters()) - padding
