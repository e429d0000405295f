"""When something that happens every so many steps is due."""

from __future__ import annotations


def every(interval: int | None, step: int) -> bool:
    """Whether ``step`` is a multiple of ``interval``; 0 and None stand for never."""
    return interval is not None and interval > 0 and step % interval == 0
