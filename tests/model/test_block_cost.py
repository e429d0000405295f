"""A block's parameters, against the module, and what recomputation leaves."""

from __future__ import annotations

import pytest

from helpers.tiny_gpt import tiny_config, tiny_gpt
from steel_megatron.model.block_cost import block_again, block_kept, block_parameters
from steel_megatron.model.cost import Sizes, total_bytes
from steel_megatron.model.ends_cost import ends_parameters
from steel_megatron.model.recompute import Recompute


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"add_bias_linear": True, "normalization": "LayerNorm", "activation": "gelu"},
        {"qk_layernorm": True, "add_qkv_bias": True},
        {"position_embedding_type": "learned_absolute", "untie_embeddings_and_output_weights": False},
    ],
)
def test_parameters_are_those_of_the_module(options) -> None:
    config = tiny_config(num_layers=1, **options)
    counted = block_parameters(config, 0).total() + ends_parameters(config).total()
    assert counted == sum(parameter.numel() for parameter in tiny_gpt(config).parameters())


def test_recomputation_keeps_less_and_makes_the_rest_again() -> None:
    config, sizes = tiny_config(), Sizes.of(tiny_config(), seq_length=16)
    whole = total_bytes(block_kept(config, 0, sizes), 2)
    for module in ("core_attn", "layernorm", "mlp_act"):
        recompute = Recompute("selective", modules=(module,))
        assert total_bytes(block_kept(config, 0, sizes, recompute), 2) < whole
    assert block_again(config, 0, sizes, Recompute(), 2) == 0
    heads = 2 * (4 + 2 * 2 + 4) * 8 + 4 * 4  # queries, keys, values, output; the log of the sum of exp
    wide = 2 * 2 * 48  # gate and up, free by then
    attention = Recompute("selective", modules=("core_attn",))
    assert block_again(config, 0, sizes, attention, 2) == max(heads - wide, 0) > 0
