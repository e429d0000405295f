"""The kinds of feed-forward that a block may have (``--mlp-layer-types``), and what each takes; see :mod:`..cost`.

How to add one: as a kind of attention (``model/attention/kinds.py``), with its name in
:data:`~steel_megatron.config.layer_types.FEED_FORWARD_KINDS`.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING, Any

from steel_megatron.config import ModelConfig
from steel_megatron.config.layer_types import FEED_FORWARD_KINDS
from steel_megatron.model.cost import ACTIVATION, FP32, LINEAR, Flops, Kept, Passes, Sizes, linear_input

if TYPE_CHECKING:
    from steel_megatron.model.ffn.mlp import MLP


class Dense:
    """Up (and gate) projection, activation, down projection: every token goes through all of it."""

    def build(self, *given: Any, **more: Any) -> MLP:
        """The module: (B, S, H) → (B, S, H)."""
        from steel_megatron.model.ffn.mlp import MLP

        return MLP(*given, **more)

    def parameters(self, model: ModelConfig) -> Counter[str]:
        """Elements of the whole layer, by module."""
        wide = _wide(model) * model.ffn_hidden_size
        biases = wide + model.hidden_size if model.add_bias_linear else 0
        return Counter(mlp=model.hidden_size * (wide + model.ffn_hidden_size) + biases)

    def flops(self, model: ModelConfig, seq_length: int) -> Flops:
        return Flops(mlp=6.0 * (_wide(model) + 1) * model.hidden_size * model.ffn_hidden_size)

    def kept(self, model: ModelConfig, s: Sizes, *, again: bool) -> list[Kept]:
        """From the first projection's output on. ``again``: the activation's output is made again."""
        return [
            Kept("gate and up" if model.gated else "up", self.projected(model, s)),
            *([] if again else linear_input("activation's output", s.F, s)),
        ]

    def projected(self, model: ModelConfig, s: Sizes) -> int:
        """Elements per token that the first projection makes; they are free when the attention's backward pass runs."""
        return _wide(model) * s.F

    def working(self, model: ModelConfig, s: Sizes, passes: Passes, *, again: bool, workspace: int) -> int:
        """The most bytes that the backward pass has beside what is kept.

        dy (the residual's gradient) and the gradients of the activation's output and input; when the latter is there,
        the kept output is free, unless it was made ``again``. Before that, the down projection's weight gradient;
        ``workspace``: of an 8-bit one that is added to its buffer inside the matmul.
        """
        rows = s.Hs + (s.H if passes.tensor_parallel > 1 else 0)  # gathered or summed over the ranks
        rows += s.F if again else 0
        wide = self.projected(model, s)
        rounded = 2 * passes.tokens if s.eight_bit else 0  # a gradient in 8 bits, by rows and transposed
        gradient = passes.gradient_bytes(passes.tokens, s.H, s.F)
        if s.eight_bit:  # an fp32 copy, or the workspace in its place
            gradient = max(FP32 * s.H * s.F, workspace)
        before = (rows + s.F) * passes.width * passes.tokens + s.H * rounded + gradient
        after = (rows + wide) * passes.width * passes.tokens + wide * rounded
        return round(max(before, after))

    def traffic(self, model: ModelConfig, s: Sizes) -> Counter[str]:
        """Elements per token, by kind; the table is in tools/fake_cuda/least_traffic.py."""
        activation = ((3 + 5) if model.gated else (2 + 3)) * s.F
        return Counter({ACTIVATION: activation, LINEAR: s.Hs + s.F + s.Hs + self.projected(model, s)})


def _wide(model: ModelConfig) -> int:
    return 2 if model.gated else 1


def feed_forward_of(model: ModelConfig, layer: int) -> Dense:
    """The kind of a layer."""
    return _made(model.feed_forward_kinds[layer])


@functools.cache
def _made(name: str) -> Dense:
    kind: Dense = FEED_FORWARD_KINDS.load(name, "--mlp-layer-types")()
    return kind
