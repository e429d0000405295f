"""The variable that names the widest instruction set."""

from __future__ import annotations

import pytest

from steel_megatron.config.errors import ConfigError
from steel_megatron.config.instruction_set import INSTRUCTION_SET_VARIABLE, INSTRUCTION_SETS, check_instruction_set


@pytest.mark.parametrize("named", ["", *INSTRUCTION_SETS])
def test_known_sets_and_none_are_taken(named: str) -> None:
    check_instruction_set({INSTRUCTION_SET_VARIABLE: named})
    check_instruction_set({})


@pytest.mark.parametrize("named", ["AVX2", "avx1024", " "])
def test_another_is_refused(named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_instruction_set({INSTRUCTION_SET_VARIABLE: named})
    assert caught.value.given == f"{INSTRUCTION_SET_VARIABLE}={named}"
    assert all(name in caught.value.rule for name in INSTRUCTION_SETS)
    assert "unset" in caught.value.fix
