"""``STEEL_CPU_CAPABILITY``: the widest instruction set that the compiled parts may use."""

from __future__ import annotations

from collections.abc import Mapping

from steel_megatron.config.errors import ConfigError

INSTRUCTION_SET_VARIABLE = "STEEL_CPU_CAPABILITY"
INSTRUCTION_SETS = ("base", "avx2", "avx512", "avx512_bf16")


def check_instruction_set(environment: Mapping[str, str]) -> None:
    """Refuses a name that is none. The compiled modules check it too, but an error of an import is a traceback.

    Raises:
        ConfigError: the variable is set to something else than an instruction set.
    """
    named = environment.get(INSTRUCTION_SET_VARIABLE, "")
    if named and named not in INSTRUCTION_SETS:
        raise ConfigError(
            f"{INSTRUCTION_SET_VARIABLE}={named}",
            rule=f"it is {', '.join(INSTRUCTION_SETS[:-1])} or {INSTRUCTION_SETS[-1]}",
            fix="unset it for the widest set of this processor",
        )
