"""A model made small keeps its kind, so that what is proven of it holds for the large one."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import (
    KNOBS,
    ParallelConfig,
    RunConfig,
    check_layout,
    check_run,
    load_run_config,
    preset_names,
)
from steel_megatron.config.errors import ConfigError
from steel_megatron.config.model import ModelConfig
from steel_megatron.verify.layouts import default_layouts, fits
from steel_megatron.verify.shrink import RANKS, shrink, small_model

# Heads, key heads, head size (None: width by heads), width → heads, key heads, head size and width of the small model.
SHAPES = [
    ((32, 4, None, 2048), (8, 4, None, 64)),
    ((32, 8, None, 2048), (16, 8, None, 128)),  # grouped stays grouped, also with 8 key heads
    ((32, 32, None, 2048), (8, 8, None, 64)),  # multi-head
    ((32, 1, None, 2048), (8, 1, None, 64)),  # multi-query
    ((14, 2, None, 896), (6, 2, None, 48)),  # Qwen2-0.5B
    ((12, 12, None, 768), (12, 12, None, 96)),  # GPT-2
    ((25, 25, None, 1600), (3, 3, None, 24)),  # GPT-2 XL
    ((7, 1, None, 448), (3, 1, None, 24)),
    ((1, 1, None, 64), (1, 1, None, 8)),
    ((16, 8, 128, 1024), (16, 8, 8, 64)),  # Qwen3-0.6B: heads wider together than the model
    ((16, 4, 128, 2048), (8, 4, 8, 64)),
    ((8, 4, 64, 2048), (8, 4, 8, 128)),  # narrower
]


@pytest.mark.parametrize(("large", "small"), SHAPES)
def test_heads(large: tuple[int | None, ...], small: tuple[int | None, ...]) -> None:
    names = ("num_attention_heads", "num_query_groups", "kv_channels", "hidden_size")
    found = small_model(ModelConfig(**dict(zip(names, large, strict=True))))
    assert tuple(getattr(found, name) for name in names) == small


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_keeps_all_but_its_sizes(name: str) -> None:
    config = load_run_config(preset=name)
    small = shrink(config, steps=3)
    for knob in (
        "position_embedding_type",
        "normalization",
        "activation",
        "add_bias_linear",
        "add_qkv_bias",
        "qk_layernorm",
        "untie_embeddings_and_output_weights",
        "rope_scaling_type",
        "rotary_percent",
    ):
        assert small.get(knob) == config.get(knob)
    check_run(small)
    assert small.model.hidden_size <= 192


@given(st.data())
def test_a_layout_is_possible_for_both_or_for_neither(data: st.DataObject) -> None:
    groups = data.draw(st.integers(1, 40))
    model = ModelConfig(
        num_attention_heads=groups * data.draw(st.integers(1, 12)),
        num_query_groups=groups,
        kv_channels=data.draw(st.sampled_from([2, 6, 8, 64, 80, 96, 100, 128, 256])),
        hidden_size=data.draw(st.integers(8, 4096)),
        ffn_hidden_size=data.draw(st.integers(1, 9999)),
        rotary_percent=data.draw(st.sampled_from([1.0, 0.5, 0.25, 0.4])),
        vocab_size=data.draw(st.none() | st.integers(1, 200_000)),
    )
    try:
        model.check()
    except ConfigError:
        return
    small = small_model(model)
    small.check()
    for ranks in (1, *RANKS):
        possible = []
        for one in (model, small):
            try:
                check_layout(one, ParallelConfig(tensor_model_parallel_size=ranks), ranks)
            except ConfigError:
                possible.append(False)
            else:
                possible.append(True)
        assert possible[0] == possible[1], (ranks, model, small)
    together, its_own = small.num_attention_heads * small.head_dim, model.num_attention_heads * model.head_dim
    assert (together > small.hidden_size) == (its_own > model.hidden_size)
    assert (together < small.hidden_size) == (its_own < model.hidden_size)
    assert small.head_dim % 8 == 0 or model.head_dim % 8 != 0


def test_what_a_small_model_in_fp32_cannot_have_is_left_out() -> None:
    config = load_run_config(preset="steel_1b").replace(
        fp8_format="hybrid",
        attention_backend="flash2",
        enable_cuda_graph=True,
        recompute_num_layers=18,
        pipeline_layout="9,9",
        skip_samples=["1:2"],
        data_cache_path="/nowhere",
        lr_warmup_iters=2000,
        lr_warmup_init=1e-3,
    )
    small = shrink(config, steps=3)
    assert all(not fits(layout, small) for layout in default_layouts(8))
    check_run(small)


@pytest.mark.parametrize(
    ("layers", "given", "small"),
    [
        (22, ("sliding_attention", "full_attention"), ("sliding_attention", "full_attention") * 4),
        (22, ("sliding_attention",), ("sliding_attention",) * 8),
        (12, ("sliding_attention",) * 11 + ("full_attention",), ("sliding_attention",) * 7 + ("full_attention",)),
        (3, ("full_attention", "full_attention", "sliding_attention"), None),
    ],
)
def test_every_kind_of_layer_stays(layers, given, small) -> None:
    config = RunConfig().replace(num_layers=layers, layer_types=given, window_size=1024, train_iters=1)
    model = shrink(config, 1).model
    model.check()
    assert set(model.attention_kinds) == set(given)
    assert small is None or tuple(model.attention_kinds) == small


def test_every_size_of_the_model_is_made_small() -> None:
    large = ModelConfig(**{knob.name: 4096 for knob in KNOBS.values() if knob.shape})
    small = small_model(dataclasses.replace(large, num_query_groups=64, num_attention_heads=64, kv_channels=512))
    sizes = [knob.name for knob in KNOBS.values() if knob.shape]
    assert "hidden_size" in sizes
    assert all(getattr(small, name) < 512 for name in sizes), small
