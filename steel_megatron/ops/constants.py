"""Functions whose results torch.compile takes for constants of what it compiles.

torch's own mark loads its compiler, most of a second in every process; it is set when something is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])
_functions: list[Callable[..., Any]] = []


def constant_in_graphs(function: F) -> F:
    """Decorates such a function."""
    _functions.append(function)
    return function


def mark_constants() -> None:
    """Before ``torch.compile`` of anything that calls them."""
    for function in _functions:
        torch.compiler.assume_constant_result(function)
