"""Norms with their specs."""

from __future__ import annotations

import pytest
import torch

from helpers.tiny_gpt import tiny_config
from steel_megatron.model.norm import Norm
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import spec_of


def norm(kind: str, partial: bool = False) -> Norm:
    config = tiny_config(normalization=kind)
    made = Norm(8, config, name="n", grid=Grid.single(), partial=partial, dtype=torch.float32, device="cpu")
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.linspace(0.5, 2.0, 8))
    return made


@pytest.mark.parametrize("kind", ["RMSNorm", "LayerNorm"])
def test_it_is_torchs_norm_of_the_sum(kind: str) -> None:
    made = norm(kind)
    x, branch = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1)).unsqueeze(0).repeat(2, 1, 1, 1)
    branch = branch * 0.5
    if kind == "RMSNorm":
        expected = torch.nn.functional.rms_norm(x + branch, (8,), made.weight, made.epsilon)
    else:
        expected = torch.nn.functional.layer_norm(x + branch, (8,), made.weight, made.bias, made.epsilon)
    normed, total = made.after(x, branch)
    torch.testing.assert_close(normed, expected)
    torch.testing.assert_close(total, x + branch)
    assert torch.equal(made.after(x, None)[1], x)


def test_a_partial_norm_is_summed_over_tensor_parallel_and_none_is_decayed() -> None:
    assert "tp" in spec_of(norm("LayerNorm", partial=True).bias).summed_over
    assert "tp" not in spec_of(norm("LayerNorm").weight).summed_over
    assert not spec_of(norm("RMSNorm").weight).decay
    assert norm("RMSNorm").bias is None
