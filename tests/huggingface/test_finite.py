"""Weights that are no numbers, or too large for the checkpoint's type, are named."""

from __future__ import annotations

import pytest
import torch

from steel_megatron.config import CheckpointError
from steel_megatron.huggingface.finite import NAMED, FiniteWeights


class Source(dict[str, torch.Tensor]):
    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.items()}


def read(dtype: torch.dtype, **tensors: list[float]) -> FiniteWeights:
    weights = FiniteWeights(Source({name: torch.tensor(values) for name, values in tensors.items()}), dtype)
    for name, values in tensors.items():
        assert torch.equal(weights[name].nan_to_num(0.0), torch.tensor(values).nan_to_num(0.0))
    return weights


def test_finite_weights_pass():
    read(torch.bfloat16, a=[1e38, -1e38]).check("the folder")


def test_those_that_are_not_finite_are_named_and_counted():
    weights = read(torch.float32, a=[1.0, float("nan"), float("-inf")], b=[0.0])
    with pytest.raises(CheckpointError, match=r"here has weights that are NaN or infinite: a \(2 of 3 elements\)\n"):
        weights.check("here")


def test_those_too_large_for_the_type_are_told_apart():
    with pytest.raises(CheckpointError, match=r"float16 cannot hold: a \(1 of 2 elements\)") as error:
        read(torch.float16, a=[65504.0, 1e5]).check("here")
    assert "--dtype bf16 or fp32" in str(error.value)


def test_a_long_list_is_cut():
    names = {f"w{i}": [float("inf")] for i in range(NAMED + 2)}
    with pytest.raises(CheckpointError, match=f"w{NAMED - 1} .* and 2 more") as error:
        read(torch.float32, **names).check("here")
    assert f"w{NAMED} " not in str(error.value)
