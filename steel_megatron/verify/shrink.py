"""A run like the user's, small enough to be trained on every layout in seconds.

Sizes become small; what kind of shape it is stays. What goes wrong in parallel is often a matter of the kind: one key
head for all ranks, head counts that are no powers of two, heads whose width together is not the model's, tied weights.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from steel_megatron.config import ModelConfig, RunConfig, TrainingConfig

RANKS = (2, 4, 8)  # over which layouts divide heads, features and the vocabulary
LAYERS = 8  # one per stage of the longest pipeline
HEAD_SIZE, FFN, VOCABULARY = 8, 96, 301
WINDOW = 6  # of a sliding layer: shorter than the samples and most of their documents
FOR_16_BITS = ("flash2", "flash3", "flash4", "sdpa_flash3", "sdpa_flash4", "cudnn", "fused")  # attention backends
LENGTHS = (  # of warm-up and decay: the small run's
    *("lr_warmup_iters", "lr_warmup_samples", "lr_warmup_tokens", "lr_warmup_fraction"),
    *("lr_decay_iters", "lr_decay_samples", "lr_decay_tokens", "lr_wsd_decay_iters"),
)


def shrink(config: RunConfig, steps: int) -> RunConfig:
    """The user's run with all its options on a small model of the same kind, in fp32 and reproducible.

    Args:
        config: whose model has been checked.
        steps: length of the run.
    """
    layout = config.parallel.pipeline_layout
    small = dataclasses.replace(
        config, model=small_model(config.model), training=_small_training(config.training, steps)
    )
    return small.replace(
        pipeline_layout="even" if layout == "even" else "auto",  # numbers of layers are those of the large model
        # AdamW divides by the root of the second moment: with a tiny epsilon a gradient that is next to nothing, and so
        # mostly rounding, moves its weight as far as any other. Gradients here are about 1e-3.
        lr=5e-4,
        min_lr=5e-5,
        lr_warmup_init=0.0,
        lr_decay_style="cosine",
        adam_eps=1e-6,
        **dict.fromkeys(LENGTHS),
        **dict.fromkeys(("train_data_path", "valid_data_path", "phases", "tokenizer_type", "tokenizer_model")),
        split="100,0,0",
        num_workers=0,
        data_cache_path=None,
        skip_samples=(),
        save=None,
        load=None,
    )


def small_model(model: ModelConfig) -> ModelConfig:
    """A model of the same kind: what a layout may divide, it may divide in both, and nothing more."""
    heads, groups = _small_heads(model.num_attention_heads, model.query_groups)
    head = _small_head(model.head_dim, model.rotary_percent)
    width, together = model.hidden_size, model.num_attention_heads * model.head_dim
    factor = 1.0 if together == width else 0.5 if together > width else 2.0
    padded = model.vocab_size is None or model.vocab_size % (model.make_vocab_size_divisible_by * RANKS[-1])
    return dataclasses.replace(
        model,
        num_layers=LAYERS,
        num_attention_heads=heads,
        num_query_groups=groups,
        kv_channels=None if model.kv_channels is None else head,
        hidden_size=int(heads * head * factor),
        ffn_hidden_size=next(n for n in itertools.count(FFN) if _divided(n) == _divided(model.ffn_hidden_size)),
        make_vocab_size_divisible_by=8,
        vocab_size=VOCABULARY if padded else 8 * RANKS[-1] * 5,
        max_position_embeddings=64,
        layer_types=_small_kinds(model.layer_types, model.attention_kinds),
        mlp_layer_types=_small_kinds(model.mlp_layer_types, model.feed_forward_kinds),
        window_size=None if model.window_size is None else WINDOW,
    )


def _small_kinds(pattern: Sequence[str] | None, kinds: Sequence[str]) -> tuple[str, ...] | None:
    """The kinds of the first layers; where some kind does not come among them, it has the last ones."""
    if pattern is None:
        return None
    missing = sorted(set(kinds) - set(kinds[:LAYERS]))
    first = [*itertools.islice(itertools.cycle(kinds), LAYERS - len(missing)), *missing]
    return tuple(first)


def _small_heads(heads: int, groups: int) -> tuple[int, int]:
    """The fewest query heads, and the fewest key heads, of the same kind."""
    kind = _heads_kind(heads, groups)
    return next(
        (few, keys)
        for few in range(1, heads + 1)
        for keys in range(1, few + 1)
        if few % keys == 0 and _heads_kind(few, keys) == kind
    )


def _heads_kind(heads: int, groups: int) -> tuple[Any, ...]:
    return (
        groups == 1,  # multi-query
        groups == heads,  # multi-head
        _divided(heads),
        _divided(groups),
        [ranks > groups and ranks % groups == 0 for ranks in RANKS],  # ranks share a key head
        _power_of_two(heads),
        _power_of_two(heads // groups),
    )


def _small_head(size: int, rotary_percent: float) -> int:
    """The smallest head of 8 channels or more that is divided alike, and of which RoPE rotates a whole or a part."""

    def kind(channels: int) -> tuple[Any, ...]:
        rotated = int(channels * rotary_percent)
        return _divided(channels), rotated % 2, rotated > 0, rotated == channels

    return next((small for small in range(HEAD_SIZE, size) if kind(small) == kind(size)), size)


def _divided(number: int) -> list[bool]:
    return [number % ranks == 0 for ranks in RANKS]


def _power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _small_training(training: TrainingConfig, steps: int) -> TrainingConfig:
    """Few and short samples; what is of 16 or 8 bits, or of a GPU alone, is left out."""
    recomputed = training.recompute_num_layers
    return dataclasses.replace(
        training,
        seq_length=32,
        micro_batch_size=2,
        global_batch_size=16,
        train_iters=steps,
        train_samples=None,
        rampup_batch_size=None,
        precision="fp32",
        eval_iters=0,
        fp8_format=None,
        fp8_recipe="tensorwise",
        transformer_impl="local",
        enable_cuda_graph=False,
        attention_backend="auto" if training.attention_backend in FOR_16_BITS else training.attention_backend,
        recompute_num_layers=None if recomputed is None else min(recomputed, LAYERS),
    )
