"""The dense feed-forward's own figures."""

from __future__ import annotations

import pytest

from helpers.tiny_gpt import tiny_config
from steel_megatron.model.cost import Passes, Sizes, total_bytes
from steel_megatron.model.ffn.kinds import Dense, feed_forward_of


@pytest.mark.parametrize(("activation", "wide"), [("swiglu", 2), ("gelu", 1), ("relu {gated: true}", 2)])
def test_a_gate_is_a_second_projection(activation: str, wide: int) -> None:
    model = tiny_config(activation=activation)
    kind, sizes = feed_forward_of(model, 0), Sizes.of(model, tensor_parallel=2)
    assert type(kind) is Dense
    assert kind.parameters(model).total() == (wide + 1) * 32 * 48
    assert kind.flops(model, 16).total == 6 * (wide + 1) * 32 * 48
    assert kind.projected(model, sizes) == wide * 24
    assert total_bytes(kind.kept(model, sizes, again=False), 2) == 2 * (wide + 1) * 24
    assert total_bytes(kind.kept(model, sizes, again=True), 2) == 2 * wide * 24


def test_biases_are_counted() -> None:
    plain, biased = (Dense().parameters(tiny_config(add_bias_linear=flag)).total() for flag in (False, True))
    assert biased - plain == 2 * 48 + 32


def test_temporaries_grow_with_what_is_made_again() -> None:
    model = tiny_config()
    passes = Passes(tokens=10, width=2, tensor_parallel=1, gradient_bytes=lambda tokens, rows, features: 0)
    kept, again = (Dense().working(model, Sizes.of(model), passes, again=flag, workspace=0) for flag in (False, True))
    assert kept == (32 + 2 * 48) * 2 * 10
    assert again - kept == 48 * 2 * 10
