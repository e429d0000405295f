"""Every layout computes the same training run."""

from __future__ import annotations

import pytest

from steel_megatron.config import RunConfig
from steel_megatron.verify.layouts import Layout, default_layouts, fits
from steel_megatron.verify.processes import verify
from steel_megatron.verify.shrink import shrink

# Shapes whose parallel forms went wrong in other trainers: tied embeddings, fewer key heads than ranks, a vocabulary
# that does not divide, biases on row-parallel layers, normalised queries and keys, learned positions, dropout.
SHAPES = {
    "tied_gqa": {"untie_embeddings_and_output_weights": False, "num_query_groups": 8, "qk_layernorm": True},
    "untied_mqa_dropout": {
        "num_query_groups": 1,
        "add_qkv_bias": True,
        "hidden_dropout": 0.1,
        "attention_dropout": 0.1,
        "z_loss_coeff": 0.01,
        "exp_avg_dtype": "bf16",
        "exp_avg_sq_dtype": "bf16",
    },
    "gpt2": {
        "untie_embeddings_and_output_weights": False,
        "normalization": "LayerNorm",
        "position_embedding_type": "learned_absolute",
        "activation": "gelu",
        "add_bias_linear": True,
        "num_query_groups": 32,
        # Another numbering of the ranks, and every transfer waited for where it is started.
        "rank_order": "pp-dp-tp",
        "overlap_tensor_parallel": False,
        "overlap_grad_reduce": False,
        "overlap_param_gather": False,
    },
    # Head counts that are no powers of two, heads wider together than the model, of which RoPE turns a part.
    "odd_heads": {"num_attention_heads": 14, "num_query_groups": 2, "kv_channels": 160, "rotary_percent": 0.4},
    # Layers that see a part of the past, between some that see all of it; documents longer and shorter than it.
    "two_kinds_of_attention": {
        "layer_types": ("sliding_attention", "sliding_attention", "full_attention"),
        "window_size": 512,
    },
}
CORE = {
    "two_kinds_of_attention": ["tp2,sp,pp2", "pp4,selective", "dp2,full"],
    "odd_heads": ["tp2,sp,pp2,dp2", "dp2,nozero"],
    "tied_gqa": ["tp2,sp,pp2,dp2", "pp2,vpp2,dp2,nozero", "tp4,sp", "pp4,gpipe,full"],
    "untied_mqa_dropout": ["tp2,sp,dp2,selective", "tp2,pp2,vpp2,full"],
    "gpt2": ["tp2,sp,pp2,dp2,mbs1", "dp4"],
}


def shape(name: str) -> RunConfig:
    return RunConfig().replace(**SHAPES[name])


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_core_layouts_agree(name):
    layouts = [Layout.parse(text) for text in CORE[name]]
    for outcome in verify(shrink(shape(name), steps=5), layouts, "cpu"):
        assert outcome.agrees, outcome


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SHAPES))
def test_every_layout_agrees(name):
    config = shrink(shape(name), steps=5)
    layouts = [layout for layout in default_layouts(8) if not fits(layout, config)]
    outcomes = list(verify(config, layouts, "cpu"))
    assert len(outcomes) == len(layouts) > 25
    assert [outcome for outcome in outcomes if not outcome.agrees] == []
