"""Tests marked ``emulated`` run the CUDA kernels on tensors of the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.cuda_emulator.kernels import emulated


@pytest.fixture(autouse=True)
def _emulated(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.get_closest_marker("emulated") is None:
        yield
        return
    with emulated():
        yield
