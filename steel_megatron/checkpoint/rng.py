"""Random states of the libraries that have one. Dropout and data order need none: they are arithmetic."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import torch


def capture_random_state() -> bytes:
    """The states of Python, numpy and torch (CPU and this process's GPU), as bytes."""
    kind, key, position, has_gauss, gauss = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": random.getstate(),
        # Plain types, so that reading it back can run no code.
        "numpy": (str(kind), torch.from_numpy(np.array(key)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def restore_random_state(saved: bytes) -> None:
    """Brings back what :func:`capture_random_state` returned in this or another process."""
    state = torch.load(io.BytesIO(saved), weights_only=True)
    random.setstate(state["python"])
    kind, key, *rest = state["numpy"]
    np.random.set_state((kind, key.numpy(), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
