"""Packages that only some commands need."""

from __future__ import annotations

import importlib
from typing import Any

from steel_megatron.config.errors import ConfigError

EXTRA = 'pip install "steel-megatron[corpus]"'


def needed(module: str, why: str, fix: str = EXTRA) -> Any:
    """An optional package, imported.

    Args:
        why: what needs it, to begin the error with.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError(f"{why} needs the package {module.partition('.')[0]}", fix=fix) from None
