"""Properties of the model that hold for every option."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.tiny_gpt import OPTIONS, VOCABULARY, random_tokens, tiny_config, tiny_gpt
from steel_megatron.config.training import RECOMPUTE_MODULES
from steel_megatron.model.attention.cache import KVCache
from steel_megatron.model.gpt import GPT
from steel_megatron.model.recompute import Recompute
from steel_megatron.ops.attention import Packing
from steel_megatron.ops.dropout import DropoutKey
from steel_megatron.parallel.grid import Grid


@settings(max_examples=40)
@given(options=OPTIONS, cut=st.integers(1, 11))
def test_no_logit_depends_on_a_later_token(options, cut):
    config = tiny_config(**options)
    config.check()
    model = tiny_gpt(config)
    tokens = random_tokens(2, 12)
    changed = tokens.clone()
    changed[:, cut:] = (changed[:, cut:] + 1) % VOCABULARY
    with torch.no_grad():
        one, other = model(tokens), model(changed)
    torch.testing.assert_close(one[:, :cut], other[:, :cut], rtol=0, atol=1e-5)
    assert not torch.allclose(one[:, cut:], other[:, cut:], atol=1e-3)


@settings(max_examples=40)
@given(options=OPTIONS, cuts=st.lists(st.integers(1, 11), max_size=3))
def test_cached_decoding_equals_prefill(options, cuts):
    config = tiny_config(**options)
    model = tiny_gpt(config)
    tokens = random_tokens(2, 12)
    cache = KVCache(config, model.grid, batch=2, capacity=12, dtype=torch.float32)
    borders = [0, *sorted(set(cuts)), 12]
    with torch.no_grad():
        parts = [model(tokens[:, a:b], cache=cache) for a, b in itertools.pairwise(borders)]
        torch.testing.assert_close(torch.cat(parts, 1), model(tokens), rtol=1e-4, atol=1e-5)


@settings(max_examples=30)
@given(options=OPTIONS, padding=st.lists(st.integers(0, 5), min_size=2, max_size=2))
def test_left_padding_changes_nothing(options, padding):
    config = tiny_config(**options)
    model = tiny_gpt(config)
    tokens = random_tokens(2, 12)
    padding_B = torch.tensor(padding)
    cache = KVCache(config, model.grid, batch=2, capacity=12, dtype=torch.float32, padding_B=padding_B)
    with torch.no_grad():
        padded = torch.cat([model(tokens[:, :7], cache=cache), model(tokens[:, 7:], cache=cache)], 1)
        for row, skip in enumerate(padding):
            alone = model(tokens[row : row + 1, skip:])
            torch.testing.assert_close(padded[row : row + 1, skip:], alone, rtol=1e-4, atol=1e-5)


@settings(max_examples=30)
@given(options=OPTIONS, lengths=st.sampled_from([[12, 12], [5, 7, 12], [1, 11, 4, 4, 4], [12, 1, 1, 10]]))
def test_packed_documents_are_as_if_alone(options, lengths):
    """Each document in a packed micro-batch has the logits and, summed, the loss that it has by itself."""
    model = tiny_gpt(tiny_config(**options))
    tokens = random_tokens(2, 12)
    positions = torch.cat([torch.arange(length) for length in lengths]).view(2, 12)
    packing = Packing.from_lengths(lengths, "cpu")
    everything = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        packed = model(tokens, positions, packing=packing).flatten(0, 1).split(lengths)
        loss = model.loss(tokens, tokens, everything, positions, packing=packing)[0]
        total = 0.0
        for document, logits in zip(tokens.flatten().split(lengths), packed, strict=True):
            alone = document.unsqueeze(0)
            torch.testing.assert_close(logits, model(alone).squeeze(0), rtol=1e-4, atol=1e-5)
            total += model.loss(alone, alone, torch.ones_like(alone, dtype=torch.bool))[0]
    torch.testing.assert_close(loss, total, rtol=1e-5, atol=1e-4)


def test_loss_is_the_sum_of_cross_entropies_of_the_mask():
    model = tiny_gpt(tiny_config())
    tokens, labels = random_tokens(3, 8, seed=1), random_tokens(3, 8, seed=2)
    mask = torch.rand(3, 8, generator=torch.Generator().manual_seed(3)) > 0.4
    losses = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), labels.flatten(), reduction="none")
    torch.testing.assert_close(model.loss(tokens, labels, mask)[0], losses[mask.flatten()].sum())
    assert model.loss(tokens, labels, torch.zeros_like(mask))[0].item() == 0.0


def gradients(model: GPT, tokens: torch.Tensor, key: DropoutKey | None, **more) -> list[torch.Tensor]:
    model.zero_grad()
    mask = torch.ones_like(tokens, dtype=torch.bool)
    model.loss(tokens, tokens.roll(-1, 1), mask, dropout=key, **more)[0].backward()
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("recompute", [Recompute("full"), Recompute("selective", modules=RECOMPUTE_MODULES)])
@pytest.mark.parametrize("packed", [False, True])
def test_recomputation_gives_the_same_gradients(recompute, packed):
    config = tiny_config(hidden_dropout=0.2, attention_dropout=0.2, qk_layernorm=True)
    tokens, key = random_tokens(2, 12), DropoutKey(7, torch.tensor([5, 9]))
    more = {"packing": Packing.from_lengths([5, 7, 12], "cpu")} if packed else {}
    kept = gradients(tiny_gpt(config), tokens, key, **more)
    again = gradients(tiny_gpt(config, recompute=recompute), tokens, key, **more)
    for one, other in zip(kept, again, strict=True):
        assert torch.equal(one, other)


def test_dropout_depends_on_the_sample_and_not_on_its_micro_batch():
    model = tiny_gpt(tiny_config(hidden_dropout=0.2, attention_dropout=0.2))
    tokens, ids = random_tokens(4, 12), torch.tensor([3, 14, 15, 92])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        whole = model.loss(tokens, tokens, mask, dropout=DropoutKey(7, ids))[0]
        order = [2, 0, 3, 1]
        parts = [
            model.loss(tokens[i : i + 1], tokens[i : i + 1], mask[:1], dropout=DropoutKey(7, ids[i : i + 1]))[0]
            for i in order
        ]
        other_seed = model.loss(tokens, tokens, mask, dropout=DropoutKey(8, ids))[0]
        without = model.loss(tokens, tokens, mask)[0]
    torch.testing.assert_close(sum(parts), whole, rtol=1e-5, atol=1e-4)
    assert abs(other_seed - whole) > 1e-2
    assert abs(without - whole) > 1e-2


def test_padding_of_the_vocabulary_is_zero_and_stays_out_of_the_softmax():
    config = tiny_config()
    model = GPT(config, Grid.single(), dtype=torch.float32, seed=1)
    tables = [model.embedding.tokens.weight, model.head.own.weight]
    assert [table.shape[0] for table in tables] == [128, 128]
    assert all((table[VOCABULARY:] == 0).all() for table in tables)
    tokens = random_tokens(1, 8)
    assert model(tokens).shape == (1, 8, VOCABULARY)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    before = model.loss(tokens, tokens, mask)[0]
    with torch.no_grad():
        for table in tables:
            table[VOCABULARY:] = 100.0
    torch.testing.assert_close(model.loss(tokens, tokens, mask)[0], before)
    model.loss(tokens, tokens, mask)[0].backward()
    assert all((table.grad[VOCABULARY:] == 0).all() for table in tables)


def test_a_tied_head_is_one_parameter():
    tied = tiny_gpt(tiny_config(untie_embeddings_and_output_weights=False))
    own = tiny_gpt(tiny_config())
    names = {name for name, _ in tied.named_parameters()}
    assert len(list(own.parameters())) == len(names) + 1
    assert tied.embedding.tokens.weight is tied.head.tied.weight


def test_depth_scaled_initialisation():
    model = GPT(
        tiny_config(num_layers=8, hidden_size=256, num_attention_heads=4), Grid.single(), dtype=torch.float32, seed=3
    )
    block = model.blocks[5]
    narrow = 0.02 / math.sqrt(16)
    assert block.attention.query_key_value.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert block.attention.output.weight.std().item() == pytest.approx(narrow, rel=0.02)
    assert block.mlp.down.weight.std().item() == pytest.approx(narrow, rel=0.05)
    assert block.mlp_norm.weight.eq(1.0).all()


def test_stages_make_up_the_model():
    """A model cut into stages, as pipeline parallel will, computes the same."""
    config, tokens = tiny_config(num_layers=3), random_tokens(2, 12)
    whole = GPT(config, Grid.single(), dtype=torch.float32, seed=1)
    cuts = [(range(1), True, False), (range(1, 2), False, False), (range(2, 3), False, True)]
    x = tokens
    with torch.no_grad():
        for layers, first, last in cuts:
            stage = GPT(config, Grid.single(), dtype=torch.float32, seed=1, layers=layers, first=first, last=last)
            x = stage(x)
        torch.testing.assert_close(x, whole(tokens), rtol=0, atol=0)


@pytest.mark.parametrize("seed", [1, 2])
def test_one_seed_gives_one_model_in_every_type(seed):
    models = [GPT(tiny_config(), Grid.single(), dtype=dtype, seed=seed) for dtype in (torch.float32, torch.bfloat16)]
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one.bfloat16(), other)
