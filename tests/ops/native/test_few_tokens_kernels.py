"""The linear layer for a few tokens, in every instruction set and type, against fp64."""

from __future__ import annotations

import pytest
import torch

from helpers.kernels import DTYPES, close, instruction_sets, random
from steel_megatron.ops.matmul import few_tokens_linear
from steel_megatron.ops.native import library


@pytest.fixture(autouse=True, params=instruction_sets(), ids=lambda module: module.__name__.rpartition(".")[2])
def kernels(request, monkeypatch):
    monkeypatch.setattr(library, "cpu_module", lambda: request.param)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "size", [(1, 1, 1), (3, 5, 7), (4, 2, 64), (9, 33, 47), (0, 4, 4), (2, 0, 4), (2, 3, 0)], ids=str
)
def test_it_is_rounded_once(dtype, size):
    tokens, rows, features = size
    x, weight = random((tokens, features), dtype, "cpu", 1), random((rows, features), dtype, "cpu", 2, strided=True)
    bias = random((rows,), dtype, "cpu", 3)
    exact = x.double() @ weight.double().T
    close(few_tokens_linear(x, weight, None), exact)
    close(few_tokens_linear(x, weight, bias), exact + bias.double())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_token_does_not_depend_on_the_others(dtype):
    x, weight = random((7, 37), dtype, "cpu", 1), random((5, 37), dtype, "cpu", 2)
    whole = few_tokens_linear(x, weight, None)
    for count in range(1, 8):
        assert torch.equal(few_tokens_linear(x[:count], weight, None), whole[:count])
    assert torch.equal(few_tokens_linear(x.flip(0), weight, None), whole.flip(0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", [0, 17, 36])
def test_special_numbers(dtype, place):
    x, weight = torch.ones(2, 37, dtype=dtype), torch.ones(3, 37, dtype=dtype)
    weight[0, place], weight[1, place], x[1, place] = torch.nan, torch.inf, -torch.inf
    y = few_tokens_linear(x, weight, None)
    assert y[:, 0].isnan().all()
    assert y[:, 1].tolist() == [torch.inf, -torch.inf]
    assert y[:, 2].tolist() == [37.0, -torch.inf]
    smallest = torch.full((1, 37), torch.finfo(dtype).smallest_normal / 2, dtype=dtype)  # subnormal
    close(few_tokens_linear(smallest, weight[2:], None), smallest.double() @ weight[2:].double().T, absolute=0.0)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"x \(1, 3\) by a weight \(2, 4\)"):
        few_tokens_linear(torch.ones(1, 3), torch.ones(2, 4), None)
