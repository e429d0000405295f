"""Patterns of kinds over the layers."""

from __future__ import annotations

from typing import Any

import pytest

from steel_megatron.config import ConfigError, ModelConfig
from steel_megatron.config.layer_types import FULL, SLIDING, check_layer_types, kind_of, shortest


def test_a_pattern_repeats() -> None:
    pattern = (SLIDING, SLIDING, FULL)
    assert [kind_of(pattern, layer, FULL) for layer in range(7)] == [*pattern, *pattern, SLIDING]
    assert kind_of(None, 5, FULL) == FULL


@pytest.mark.parametrize(
    ("kinds", "pattern"),
    [("aaaa", "a"), ("abab", "ab"), ("aba", "ab"), ("abaa", "aba"), ("aab", "aab"), ("a", "a")],
)
def test_the_shortest_pattern_gives_the_same_kinds(kinds: str, pattern: str) -> None:
    assert shortest(kinds) == tuple(pattern)
    assert [kind_of(tuple(pattern), i, "") for i in range(len(kinds))] == list(kinds)


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"layer_types": (FULL,) * 3}, "--layer-types with 3 kinds for 2 layers"),
        ({"mlp_layer_types": ()}, "--mlp-layer-types with 0 kinds"),
        ({"layer_types": (SLIDING,)}, "no --window-size"),
        ({"window_size": 8}, "--window-size 8 and no layer"),
    ],
)
def test_what_fits_no_layer_is_refused(options: dict[str, Any], given: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_layer_types(ModelConfig(num_layers=2, **options))
    assert given in caught.value.given
    assert caught.value.fix
    check_layer_types(ModelConfig(num_layers=2, layer_types=(SLIDING, FULL), window_size=8))
