"""Most tests here run the functions as they are written, which is what is compiled; compiling takes seconds each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def as_written() -> Iterator[None]:
    with torch.compiler.set_stance("force_eager"):
        yield
