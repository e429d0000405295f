"""The real Qwen vocabulary, from the dashscope package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def qwen_vocabulary() -> Path:
    """Path of ``qwen.tiktoken``; skips the test where the package is absent."""
    spec = importlib.util.find_spec("dashscope")
    if spec is None or spec.origin is None:
        pytest.skip("the Qwen vocabulary is not here: pip install --no-deps dashscope")
    return Path(spec.origin).parent / "resources" / "qwen.tiktoken"
