"""RoPE against transformers' frequencies, and as a rotation."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from steel_megatron.ops.rope import RopeSettings, frequencies, rotate, rotation

SCALINGS = {
    "linear": {"factor": 4.0},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 512,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 256},
}


@pytest.mark.parametrize("kind", sorted(SCALINGS))
@pytest.mark.parametrize("size", [32, 128])
def test_scaled_frequencies_are_transformers(kind, size):
    options = SCALINGS[kind]
    theirs = LlamaConfig(
        hidden_size=size * 4,
        num_attention_heads=4,
        head_dim=size,
        max_position_embeddings=2048,
        rope_scaling={"rope_type": kind, "rope_theta": 20000.0, **options},
        rope_theta=20000.0,
    )
    expected, factor = ROPE_INIT_FUNCTIONS[kind](theirs, torch.device("cpu"))
    ours = RopeSettings(
        rotary_dim=size,
        base=20000.0,
        scaling_type=kind,
        factor=options["factor"],
        original_max_position_embeddings=options.get("original_max_position_embeddings", 2048),
    )
    found, found_factor = frequencies(ours)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    assert found_factor == pytest.approx(factor)


@pytest.mark.parametrize("rotated", [8, 16])
def test_scores_depend_on_the_distance_alone(rotated):
    settings = RopeSettings(rotary_dim=rotated, base=10000.0)
    q, k = torch.randn(2, 1, 1, 1, 16).unbind(0)

    def score(i: int, j: int) -> torch.Tensor:
        at = [rotation(settings, torch.tensor([[place]]), torch.device("cpu")) for place in (i, j)]
        return (rotate(q, at[0]) * rotate(k, at[1])).sum()

    torch.testing.assert_close(score(3, 1), score(103, 101), rtol=1e-4, atol=1e-4)
    assert abs(score(3, 1) - score(9, 1)) > 1e-3


def test_positions_may_be_given_or_consecutive():
    settings = RopeSettings(rotary_dim=8, base=10000.0)
    x = torch.randn(2, 300, 3, 12)
    consecutive = rotate(x, rotation(settings, 300, torch.device("cpu")))
    positions = torch.arange(300).expand(2, 300)
    torch.testing.assert_close(rotate(x, rotation(settings, positions, torch.device("cpu"))), consecutive)
    later = rotate(x[:, 40:], rotation(settings, 260, torch.device("cpu"), first=40))
    torch.testing.assert_close(later, consecutive[:, 40:])
    assert torch.equal(consecutive[..., 8:], x[..., 8:])


def test_gradient_turns_back():
    settings = RopeSettings(rotary_dim=16, base=10000.0)
    x = torch.randn(2, 9, 3, 16, dtype=torch.float64, requires_grad=True)
    at = rotation(settings, 9, torch.device("cpu"))
    grad = torch.randn(2, 9, 3, 16, dtype=torch.float64)
    rotate(x, at).backward(grad)
    torch.testing.assert_close(rotate(x.grad, at).detach(), grad, rtol=1e-5, atol=1e-5)  # a rotation is orthogonal
