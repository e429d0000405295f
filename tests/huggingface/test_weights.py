"""The promise of conversion: the same logits as transformers, both ways, and the same bits after a round trip."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers.gpt_of import gpt_of
from helpers.hf_state import StateDict, to_hugging_face
from helpers.tiny_models import TINY, VOCABULARY, tiny_config, tiny_hf_model
from steel_megatron.config import ConfigError
from steel_megatron.huggingface.options import family_of, read_options
from steel_megatron.huggingface.weights import from_hugging_face
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.grid import Axis, Grid

ATOL = 1e-4


def tokens(seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (2, 80), generator=torch.Generator().manual_seed(seed))


def assert_same_logits(ours: GPT, theirs: torch.nn.Module) -> None:
    with torch.no_grad():
        found, expected = ours(tokens()), theirs(tokens()).logits
    assert found.shape == expected.shape
    assert expected.std() > 0.1  # logits that say something
    torch.testing.assert_close(found, expected, atol=ATOL, rtol=0)


@pytest.mark.parametrize("name", TINY)
def test_weights_of_transformers_give_the_same_logits_here_and_come_back_bitwise(name):
    theirs = tiny_hf_model(name)
    ours = gpt_of(theirs)
    assert_same_logits(ours, theirs)
    state = theirs.state_dict()
    back = to_hugging_face(ours, family_of(ours.config))
    assert state.keys() - back.keys() <= ({"lm_head.weight"} if ours.config.tied else set())
    assert back.keys() <= state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in back.items())


@pytest.mark.parametrize("name", TINY)
def test_weights_made_here_give_the_same_logits_in_transformers(name):
    family, config = read_options(tiny_config(name).to_dict())
    ours = GPT(config, Grid.single(), dtype=torch.float32, seed=7)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    theirs = AutoModelForCausalLM.from_config(tiny_config(name), attn_implementation="eager").eval()
    missing, unexpected = theirs.load_state_dict(to_hugging_face(ours, family), strict=False)
    assert set(missing) <= ({"lm_head.weight"} if config.tied else set())
    assert unexpected == []
    theirs.tie_weights()
    assert_same_logits(ours.eval(), theirs)


def test_rows_of_padding_become_zero():
    theirs = tiny_hf_model("llama")
    _, config = read_options(theirs.config.to_dict())
    model = GPT(config, Grid.single(), dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    from_hugging_face(StateDict(theirs.state_dict()), model, family_of(config))
    table = model.embedding.tokens.weight
    assert table.shape[0] == 256
    assert table[VOCABULARY:].count_nonzero() == 0
    assert not any(parameter.isnan().any() for parameter in model.parameters())


def test_types_are_converted():
    theirs = tiny_hf_model("llama")
    ours = gpt_of(theirs, torch.bfloat16)
    back = to_hugging_face(ours, family_of(ours.config), torch.float32)
    for name, tensor in back.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, theirs.state_dict()[name].bfloat16().float())


def test_a_part_of_a_model_is_refused():
    _, config = read_options(tiny_config("llama").to_dict())
    grid = Grid(Axis("tp", 2, 0), Axis("dp"), Axis("pp"), Axis("world", 2, 0), torch.device("cpu"))
    with pytest.raises(ConfigError, match="tensor-parallel"):
        to_hugging_face(GPT(config, grid, dtype=torch.float32), family_of(config))
