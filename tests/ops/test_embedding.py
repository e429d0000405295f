"""Every backend of the embedding's gradient against fp64, and the lookup of a range of the vocabulary."""

from __future__ import annotations

import pytest
import torch

from helpers.kernels import set_backend
from steel_megatron.ops.embedding import add_rows


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [0, 1, 500])
def test_backends_agree_with_fp64(monkeypatch, backend, dtype, tokens):
    set_backend(monkeypatch, backend)
    generator = torch.Generator().manual_seed(tokens)
    grad = torch.randn(tokens, 24, generator=generator).to(dtype)
    given = grad.clone()
    ids = torch.randint(-3, 20, (tokens,), generator=generator)
    target = torch.randn(16, 24, generator=generator).to(dtype)
    expected = target.double()
    here = (ids >= 0) & (ids < 16)
    expected.index_add_(0, ids[here], grad[here].double())
    add_rows(target, grad, ids)
    assert torch.equal(grad, given)
    # One rounding of the sum and one of the result.
    relative = 1e-5 if dtype == torch.float32 else 2**-7
    torch.testing.assert_close(target.double(), expected, rtol=relative, atol=1e-4 if dtype == torch.float32 else 0.1)


def test_a_row_met_often_is_rounded_once(monkeypatch):
    """Added one by one to bf16, ones would stop to count at 256."""
    for backend in ("auto", "torch"):
        set_backend(monkeypatch, backend)
        target = torch.zeros(3, 8, dtype=torch.bfloat16)
        add_rows(target, torch.ones(1000, 8, dtype=torch.bfloat16), torch.full((1000,), 2))
        assert target[2].unique().tolist() == [1000.0]
