"""What is timed of an operation."""

from __future__ import annotations

import torch

from helpers.tiny_gpt import tiny_config
from steel_megatron.ops.cases import Setting


def setting(dtype: torch.dtype) -> Setting:
    return Setting(tiny_config(), batch=2, length=3, device=torch.device("cpu"), dtype=dtype)


def test_numbers_are_the_same_in_every_type_and_shapes_are_the_models() -> None:
    exact, rounded = setting(torch.float32), setting(torch.bfloat16)
    assert torch.equal(exact.hidden(), rounded.hidden().float())
    assert not torch.equal(exact.random(4, seed=0), exact.random(4, seed=1))
    assert exact.hidden().shape == (2, 3, 32)
    assert [tuple(heads.shape) for heads in exact.heads()] == [(2, 3, 4, 8), (2, 3, 2, 8), (2, 3, 2, 8)]


def test_a_case_runs_forward_and_backward() -> None:
    made = setting(torch.float32)
    a, b = made.random(3, seed=1), made.random(3, seed=2)
    y, da, db = made.differentiable(lambda x, y: x * y, [a, b]).results()
    grad = made.random(3, seed=7)
    assert torch.equal(y, a * b)
    assert torch.equal(da, grad * b)
    assert torch.equal(db, grad * a)
