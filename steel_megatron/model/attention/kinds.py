"""The kinds of attention that a block may have (``--layer-types``), and what each takes; see :mod:`..cost`.

A further kind is a class like these: what differs from :class:`FullAttention` is overridden. One that looks through a
window of its own, or adds a module of its own::

    class Near(FullAttention):
        def window(self, model): return 64                    # the cache, FLOPs and plan follow
        def build(self, model, layer, *given, **more): ...    # where another module than Attention computes it

It is used as ``--layer-types my_package.kinds:Near full_attention``; in this package its name gets a line in
:data:`~steel_megatron.config.layer_types.ATTENTION_KINDS`. What it adds to or leaves out of ``parameters``, ``flops``,
``kept``, ``cached_positions`` and ``traffic`` it says there: plan, MFU, pipeline stages and the cache read it from the
kind, and ``tests/model/test_activations.py`` compares ``kept`` with what is really alive, to the byte. A kind is made
without arguments and loads no torch; its modules are imported in ``build``.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING, Any

from steel_megatron.config import ModelConfig
from steel_megatron.config.layer_types import ATTENTION_KINDS
from steel_megatron.model.cost import (
    FP32,
    HEADS,
    LINEAR,
    Flops,
    Kept,
    Sizes,
    linear_input,
    norm_parameters,
    norm_statistics,
)

if TYPE_CHECKING:
    from steel_megatron.model.attention.layer import Attention


class FullAttention:
    """Multi-head, grouped-query or multi-query attention of each token to the whole past of its document."""

    def window(self, model: ModelConfig) -> int | None:
        """What a token sees, itself included, in tokens; None: all of its past."""
        return None

    def build(self, model: ModelConfig, layer: int, *given: Any, **more: Any) -> Attention:
        """The module: (B, S, H) → (B, S, H)."""
        from steel_megatron.model.attention.layer import Attention

        return Attention(model, layer, *given, window=self.window(model), **more)

    def cached_positions(self, model: ModelConfig, length: int) -> int:
        """Positions of a text of ``length`` tokens whose keys and values the next token needs."""
        window = self.window(model)
        return length if window is None else min(length, window - 1)

    def parameters(self, model: ModelConfig) -> Counter[str]:
        """Elements of the whole layer, by module."""
        queries, keys = (count * model.head_dim for count in (model.num_attention_heads, model.query_groups))
        projected = queries + 2 * keys
        found = Counter(attention=model.hidden_size * (projected + queries))
        found["attention"] += projected if model.add_qkv_bias or model.add_bias_linear else 0
        found["attention"] += model.hidden_size if model.add_bias_linear else 0
        found["norms"] = 2 * norm_parameters(model, model.head_dim) if model.qk_layernorm else 0
        return found

    def flops(self, model: ModelConfig, seq_length: int) -> Flops:
        """Two products with each key over N·D channels, forward; twice that backward."""
        queries, keys = (count * model.head_dim for count in (model.num_attention_heads, model.query_groups))
        window = min(self.window(model) or seq_length, seq_length)
        return Flops(
            attention_projections=6.0 * model.hidden_size * (2 * queries + 2 * keys),
            attention_all_keys=12.0 * queries * window,
            # A token sees as many as are before it, until the window is full.
            attention_causal=12.0 * queries * (window - window * window / (2 * seq_length)),
        )

    def kept(self, model: ModelConfig, s: Sizes, *, again: bool) -> list[Kept]:
        """From the first projection's output on. ``again``: what lies between the projections is made again."""
        if not again:
            return self.core_kept(model, s)
        return [
            Kept("projected queries, keys, values", (s.N + 2 * s.K) * s.D),
            *linear_input("attention's output", s.N * s.D, s),
        ]

    def core_kept(self, model: ModelConfig, s: Sizes) -> list[Kept]:
        """Between the projections."""
        kept = [Kept("projected queries, keys, values", (s.N + 2 * s.K) * s.D)]
        if model.qk_layernorm:
            statistics = norm_statistics(model) * (s.N + s.K)
            kept += [Kept("norms of queries and keys, statistics", other_bytes=statistics)]
            # Without these norms, RoPE is written over the projection.
            kept += [Kept("queries and keys, normalised and rotated", (s.N + s.K) * s.D)]
        kept += linear_input("attention's output", s.N * s.D, s, read_by_another=True)
        if model.attention_dropout:
            # Written out: no kernel draws these masks.
            copies = 0 if s.N == s.K else 2 * s.N * s.D
            probabilities = "attention's probabilities, before and after dropout"
            return [*kept, Kept(probabilities, s.N * s.S + copies, FP32 * s.N * s.S)]
        if s.by_strips and (self.window(model) or s.S) < s.S:
            return kept
        return [*kept, Kept("attention's log of the sum of exp", other_bytes=FP32 * s.N)]

    def traffic(self, model: ModelConfig, s: Sizes) -> Counter[str]:
        """Elements per token, by kind; the table is in tools/fake_cuda/least_traffic.py."""
        projected, turned = (s.N + 2 * s.K) * s.D, (s.N + s.K) * s.D
        rotates = model.position_embedding_type == "rope"
        heads = 2 * turned if rotates or model.qk_layernorm else 0
        heads += 2 * projected + (turned if model.qk_layernorm else 0)
        return Counter({HEADS: heads, LINEAR: s.Hs + s.N * s.D + projected + s.Hs})


class SlidingAttention(FullAttention):
    """Attention of each token to itself and the ``--window-size`` - 1 tokens before it."""

    def window(self, model: ModelConfig) -> int | None:
        return model.window_size


def attention_of(model: ModelConfig, layer: int) -> FullAttention:
    """The kind of a layer."""
    return _made(model.attention_kinds[layer])


@functools.cache
def _made(name: str) -> FullAttention:
    kind: FullAttention = ATTENTION_KINDS.load(name, "--layer-types")()
    return kind
