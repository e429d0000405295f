"""What commands say on the way, on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Any


class _StandardError(logging.StreamHandler[Any]):
    """Writes to what standard error is at that moment: a program that calls several commands may change it."""

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        pass


def show_messages() -> None:
    """Shows informative messages as they are written."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_StandardError()])
