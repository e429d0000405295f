"""Embedding and head."""

from __future__ import annotations

import torch

from helpers.tiny_gpt import tiny_config
from steel_megatron.model.embedding import Embedding, Head
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import spec_of

WHERE = {"dtype": torch.float32, "device": "cpu"}


def filled(module: torch.nn.Module) -> None:
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))


def test_learned_positions_are_added_from_0_or_where_they_are_given() -> None:
    embedding = Embedding(tiny_config(position_embedding_type="learned_absolute"), Grid.single(), **WHERE)
    filled(embedding)
    tokens = torch.tensor([[5, 6, 7]])
    table, places = embedding.tokens.weight, embedding.positions.weight
    torch.testing.assert_close(embedding(tokens, None, None), table[[5, 6, 7]].unsqueeze(0) + places[:3])
    found = embedding(tokens, torch.tensor([[0, 1, 0]]), None)
    torch.testing.assert_close(found, table[[5, 6, 7]].unsqueeze(0) + places[[0, 1, 0]])
    rotated = Embedding(tiny_config(position_embedding_type="rope"), Grid.single(), **WHERE)
    assert rotated.positions is None


def test_a_tied_head_multiplies_by_the_embedding_itself() -> None:
    config = tiny_config(untie_embeddings_and_output_weights=False)
    embedding = Embedding(config, Grid.single(), **WHERE)
    head = Head(config, Grid.single(), embedding=embedding, **WHERE)
    filled(embedding)
    assert head.weight is embedding.tokens.weight
    x = torch.ones(1, 2, 32)
    torch.testing.assert_close(head(x), x @ embedding.tokens.weight.t())
    elsewhere = Head(config, Grid.single(), embedding=None, **WHERE)
    assert elsewhere.weight is not embedding.tokens.weight
    assert spec_of(elsewhere.weight).tied == spec_of(head.weight).tied is not None


def test_a_head_of_its_own_has_its_own_matrix() -> None:
    config = tiny_config(untie_embeddings_and_output_weights=True)
    embedding = Embedding(config, Grid.single(), **WHERE)
    head = Head(config, Grid.single(), embedding=embedding, **WHERE)
    assert head.weight is not embedding.tokens.weight
    assert spec_of(head.weight).tied is None
    assert head(torch.ones(1, 2, 32)).shape == (1, 2, 128)
