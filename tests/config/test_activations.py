"""Which activations are gates."""

from __future__ import annotations

import pytest

from steel_megatron.config.activations import ACTIVATIONS, GATED, is_gated
from steel_megatron.config.errors import ConfigError


def test_a_gate_is_one_by_name_or_by_its_parameter() -> None:
    assert {name for name in ACTIVATIONS.shipped if is_gated(name)} == set(GATED)
    assert is_gated("relu {gated: true}")
    assert not is_gated("relu {gated: false}")


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ("swiglu {gated: true}", "swiglu"),
        ("relu {gated: 3}", "relu {gated: true}"),
        ("relu {slope: 0.1}", "relu {gated: true}"),
    ],
)
def test_another_parameter_is_refused(given: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        is_gated(given)
    assert given in caught.value.given
    assert caught.value.fix == fix
