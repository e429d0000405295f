"""The shape of the model."""

from __future__ import annotations

from dataclasses import dataclass

from steel_megatron.config.activations import ACTIVATIONS, is_gated
from steel_megatron.config.choices import Normalization, PositionEmbeddingType, RopeScalingType
from steel_megatron.config.errors import ConfigError
from steel_megatron.config.knob import FIXED, MODEL, TOLD, Follows, knob
from steel_megatron.config.layer_types import (
    ATTENTION_KINDS,
    DENSE,
    FEED_FORWARD_KINDS,
    FULL,
    check_layer_types,
    kind_of,
)
from steel_megatron.config.ranges import AMOUNT, IDS, LAYERS, LENGTH, POSITIVE, SIZE, at_least, divisors, share
from steel_megatron.config.section import Section

# The knobs rope_scaling_… that each kind of RoPE scaling looks at.
ROPE_SCALINGS: dict[str, tuple[str, ...]] = {
    "none": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor"),
}
FFN_MULTIPLE = 256  # of the width inside a gated MLP, where it is not given


def ffn_width(model: ModelConfig) -> int:
    """Three matrices of 8/3 of the width have as many weights as two of four times the width."""
    if not model.gated:
        return 4 * model.hidden_size
    return -(-8 * model.hidden_size // (3 * FFN_MULTIPLE)) * FFN_MULTIPLE


def key_heads(model: ModelConfig) -> int:
    """A power of two, so that tensor parallel divides or shares them on any number of ranks that divides the heads."""
    heads = model.num_attention_heads
    most = max(4, heads // 8)
    return max(n for n in (1 << i for i in range(most.bit_length())) if n <= most and heads % n == 0)


@dataclass(frozen=True)
class ModelConfig(Section):
    """Shape of the GPT-style model; the defaults are those of a modern ~1 B dense model."""

    num_layers: int = knob(22, "Transformer blocks.", changed=FIXED, allowed=LAYERS, shape=True)
    hidden_size: int = knob(2048, "Width of the residual stream.", changed=FIXED, allowed=SIZE, shape=True)
    ffn_hidden_size: int = knob(
        Follows(f"8/3 of the hidden size, up to a multiple of {FFN_MULTIPLE}; 4 times it without a gate", ffn_width),
        "Width inside the MLP.",
        changed=FIXED,
        allowed=SIZE,
        shape=True,
    )
    num_attention_heads: int = knob(32, "Query heads.", changed=FIXED, allowed=SIZE, shape=True)
    num_query_groups: int | None = knob(
        Follows("the largest power of two that divides the heads, up to 4 or an eighth of them", key_heads),
        "Key/value heads (grouped-query attention); as many as query heads: multi-head; 1: multi-query.",
        changed=FIXED,
        allowed=SIZE,
        shape=True,
    )
    kv_channels: int | None = knob(
        None, "Size of one head; hidden size / heads when unset.", changed=FIXED, allowed=SIZE, shape=True
    )
    max_position_embeddings: int = knob(
        2048,
        "Longest sequence the model is built for: the table's size for learned positions; of a run that does not say "
        "it, no less than --seq-length.",
        unit="tokens",
        allowed=LENGTH,
        changed=TOLD,
        shape=True,
    )
    vocab_size: int | None = knob(
        None,
        "Tokens of the vocabulary before padding; the tokenizer's or the data's when unset.",
        changed=FIXED,
        allowed=IDS,
        shape=True,
    )
    make_vocab_size_divisible_by: int = knob(
        128, "The embedding is padded to a multiple of this times the tensor-parallel size.", allowed=SIZE, shape=True
    )
    position_embedding_type: PositionEmbeddingType = knob("rope", "How positions enter the model.", changed=FIXED)
    rotary_base: float = knob(10000.0, "RoPE theta.", changed=MODEL, allowed=POSITIVE)
    rotary_percent: float = knob(1.0, "Share of each head that RoPE rotates.", changed=MODEL, allowed=share(zero=False))
    rope_scaling_type: RopeScalingType = knob(
        "none",
        "How RoPE frequencies are stretched for longer contexts.",
        changed=MODEL,
    )
    rope_scaling_factor: float = knob(
        1.0, "Stretch of the context by RoPE scaling.", changed=MODEL, allowed=at_least(1)
    )
    rope_scaling_low_freq_factor: float = knob(
        1.0, "Low-frequency factor of llama3 RoPE scaling.", changed=MODEL, allowed=POSITIVE
    )
    rope_scaling_high_freq_factor: float = knob(
        4.0, "High-frequency factor of llama3 RoPE scaling.", changed=MODEL, allowed=POSITIVE
    )
    rope_scaling_original_max_position_embeddings: int = knob(
        8192, "Context length before llama3 or yarn scaling.", unit="tokens", changed=MODEL, allowed=LENGTH
    )
    rope_scaling_beta_fast: float = knob(
        32.0, "Rotations above which yarn leaves a frequency as it is.", changed=MODEL, allowed=POSITIVE
    )
    rope_scaling_beta_slow: float = knob(
        1.0, "Rotations below which yarn stretches a frequency in full.", changed=MODEL, allowed=POSITIVE
    )
    rope_scaling_attention_factor: float | None = knob(
        None,
        "Factor of yarn on cosine and sine; 0.1 ln(rope_scaling_factor) + 1 when unset.",
        changed=MODEL,
        allowed=POSITIVE,
    )
    normalization: Normalization = knob("RMSNorm", "Normalisation layer.", changed=FIXED)
    norm_epsilon: float = knob(1e-5, "Epsilon inside the normalisation.", changed=MODEL, allowed=POSITIVE)
    activation: str = knob(
        "swiglu",
        "MLP activation; the …glu ones are gated, and others with {gated: true} behind the name.",
        choices=ACTIVATIONS,
        changed=FIXED,
    )
    add_bias_linear: bool = knob(False, "Biases in every linear layer of the blocks.", changed=FIXED)
    add_qkv_bias: bool = knob(False, "Biases in the query, key and value projections (Qwen2).", changed=FIXED)
    qk_layernorm: bool = knob(False, "Normalise queries and keys per head (Qwen3).", changed=FIXED)
    untie_embeddings_and_output_weights: bool = knob(
        True, "A head of its own instead of the embedding's weights.", changed=FIXED
    )
    attention_dropout: float = knob(0.0, "Dropout on attention probabilities.", changed=MODEL, allowed=share(one=False))
    hidden_dropout: float = knob(
        0.0, "Dropout on the embedding and on each sub-layer's output.", changed=MODEL, allowed=share(one=False)
    )
    init_method_std: float = knob(0.02, "Standard deviation of initial weights.", allowed=AMOUNT)
    depth_scaled_init: bool = knob(
        True, "Divide the deviation of the two output projections of each block by sqrt(2 × layers)."
    )

    layer_types: tuple[str, ...] | None = knob(
        None,
        "Kind of attention of each layer, or of the first few, whose pattern then repeats; full_attention when unset.",
        choices=ATTENTION_KINDS,
        changed=MODEL,
    )
    window_size: int | None = knob(
        None,
        "What a token of a sliding_attention layer sees: itself and those before it, so many in all.",
        unit="tokens",
        allowed=LENGTH,
        changed=MODEL,
        shape=True,
    )
    mlp_layer_types: tuple[str, ...] | None = knob(
        None,
        "Kind of feed-forward of each layer, or of the first few, whose pattern then repeats; dense when unset.",
        choices=FEED_FORWARD_KINDS,
        changed=FIXED,
    )

    @property
    def attention_kinds(self) -> list[str]:
        """The kind of each layer's attention."""
        return [kind_of(self.layer_types, layer, FULL) for layer in range(self.num_layers)]

    @property
    def feed_forward_kinds(self) -> list[str]:
        """The kind of each layer's feed-forward part."""
        return [kind_of(self.mlp_layer_types, layer, DENSE) for layer in range(self.num_layers)]

    @property
    def head_dim(self) -> int:
        """Size of one attention head."""
        return self.kv_channels or self.hidden_size // self.num_attention_heads

    @property
    def query_groups(self) -> int:
        """Key/value heads."""
        return self.num_query_groups or self.num_attention_heads

    @property
    def gated(self) -> bool:
        """Whether the MLP has a gate beside its up projection."""
        return is_gated(self.activation)

    @property
    def tied(self) -> bool:
        """Whether the head uses the embedding's weights."""
        return not self.untie_embeddings_and_output_weights

    def padded_vocab_size(self, tensor_parallel_size: int = 1) -> int:
        """Rows of the embedding: the vocabulary rounded up to a multiple of ``128 × TP`` (or as configured)."""
        assert self.vocab_size is not None, "vocab_size is set from the tokenizer before the model is built"
        multiple = self.make_vocab_size_divisible_by * tensor_parallel_size
        return -(-self.vocab_size // multiple) * multiple

    def check(self) -> None:
        super().check()
        is_gated(self.activation)
        heads, groups = self.num_attention_heads, self.query_groups
        if self.kv_channels is None and self.hidden_size % heads:
            raise ConfigError(
                f"hidden size {self.hidden_size} with {heads} heads",
                rule="the hidden size is a multiple of --num-attention-heads unless --kv-channels gives the head size",
                fix=f"use a multiple of {heads}, or set --kv-channels",
            )
        if heads % groups:
            raise ConfigError(
                f"{heads} query heads in {groups} groups",
                rule="--num-query-groups divides --num-attention-heads",
                fix=f"choose one of {divisors(heads)}",
            )
        if self.position_embedding_type == "rope" and int(self.head_dim * self.rotary_percent) % 2:
            raise ConfigError(
                f"RoPE over {int(self.head_dim * self.rotary_percent)} of {self.head_dim} channels",
                rule="RoPE rotates pairs: the number is even",
                fix="change --rotary-percent or the head size",
            )
        self._check_rope_scaling()
        check_layer_types(self)

    def _check_rope_scaling(self) -> None:
        """The two ends of what a scaling leaves as it is and stretches in full."""
        kind = self.rope_scaling_type
        ends = {
            "llama3": ("rope_scaling_low_freq_factor", "rope_scaling_high_freq_factor"),
            "yarn": ("rope_scaling_beta_slow", "rope_scaling_beta_fast"),
        }.get(kind)
        if ends is not None and getattr(self, ends[0]) >= getattr(self, ends[1]):
            flags = [f"--{name.replace('_', '-')}" for name in ends]
            raise ConfigError(
                f"{flags[0]} {getattr(self, ends[0])} and {flags[1]} {getattr(self, ends[1])}",
                rule=f"in {kind} scaling the former is below the latter",
                fix="lower the former",
            )
