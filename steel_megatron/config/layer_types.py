"""Which kind of attention and of feed-forward each layer has, as ``--layer-types`` and ``--mlp-layer-types`` say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from steel_megatron.config.errors import ConfigError
from steel_megatron.config.registry import Registry

if TYPE_CHECKING:
    from steel_megatron.config.model import ModelConfig

FULL, SLIDING = "full_attention", "sliding_attention"
DENSE = "dense"
# An entry is a class: the kind's own figures and the module that it builds.
ATTENTION_KINDS: Registry[Any] = Registry(
    "kind of attention",
    "steel_megatron.attention_kinds",
    {
        FULL: "steel_megatron.model.attention.kinds:FullAttention",
        SLIDING: "steel_megatron.model.attention.kinds:SlidingAttention",
    },
    wanted="a class like FullAttention in model/attention/kinds.py",
    fits=lambda kind: isinstance(kind, type) and hasattr(kind, "kept"),
)
FEED_FORWARD_KINDS: Registry[Any] = Registry(
    "kind of feed-forward",
    "steel_megatron.feed_forward_kinds",
    {DENSE: "steel_megatron.model.ffn.kinds:Dense"},
    wanted="a class like Dense in model/ffn/kinds.py",
    fits=lambda kind: isinstance(kind, type) and hasattr(kind, "kept"),
)


def kind_of(pattern: Sequence[str] | None, layer: int, otherwise: str) -> str:
    """The kind of a layer: a pattern repeats from the first layer on; None: all are ``otherwise``."""
    return otherwise if pattern is None else pattern[layer % len(pattern)]


def shortest(kinds: Sequence[str]) -> tuple[str, ...]:
    """The shortest pattern that gives these kinds, so that two ways to say the same are one."""
    found = next(n for n in range(1, len(kinds) + 1) if all(kinds[i] == kinds[i % n] for i in range(len(kinds))))
    return tuple(kinds[:found])


def check_layer_types(model: ModelConfig) -> None:
    """Raises :class:`ConfigError` for patterns that do not fit the layers, or a window that nobody looks through."""
    for name, pattern in (("--layer-types", model.layer_types), ("--mlp-layer-types", model.mlp_layer_types)):
        if pattern is not None and not 0 < len(pattern) <= model.num_layers:
            raise ConfigError(
                f"{name} with {len(pattern)} kinds for {model.num_layers} layers",
                rule="it names the kind of each layer, or of the first few, whose pattern then repeats",
                fix="leave out what is too much" if pattern else "leave it out",
            )
    slides = SLIDING in model.attention_kinds
    if slides and model.window_size is None:
        raise ConfigError(
            f"--layer-types with {SLIDING} and no --window-size",
            rule="a token of such a layer sees so many tokens, itself and those before it",
            fix="give --window-size, for example 1024",
        )
    # A kind of one's own may look through it too.
    if model.window_size is not None and not slides and not any(map(ATTENTION_KINDS.outside, model.attention_kinds)):
        raise ConfigError(
            f"--window-size {model.window_size} and no layer of {SLIDING}",
            rule="only these layers have a window",
            fix=f"give --layer-types {SLIDING} for all layers, or a pattern such as {SLIDING} {FULL}",
        )
