"""How the C library hands out host memory while a model trains on a CPU."""

from __future__ import annotations

import ctypes
import sys

# glibc's names in malloc.h, and the largest value that fits.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1
_MAPPED_FROM = 1 << 30  # bytes


def keep_freed_memory() -> bool:
    """Freed memory stays with this process, for the next step to use; whether the C library was told.

    Activations and logits are allocated anew in every step. By default glibc gives blocks of their size back to the
    kernel, which fills every page with zeros when it is asked for again: several percent of a step.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM) and mallopt(_M_TRIM_THRESHOLD, _LARGEST))
