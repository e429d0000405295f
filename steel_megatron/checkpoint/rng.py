"""Random states of the libraries that have one. Dropout and data order need none: they are arithmetic."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import torch


def capture_random_state() -> bytes:
    """The states of Python, numpy and torch (CPU and this process's GPU), as bytes."""
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=True),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def restore_random_state(saved: bytes) -> None:
    """Brings back what :func:`capture_random_state` returned in this or another process."""
    # Our own file, whose hash the checkpoint has checked; numpy's state is not among torch's safe types.
    state = torch.load(io.BytesIO(saved), weights_only=False)
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
