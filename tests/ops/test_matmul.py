"""Products of 16-bit matrices in fp32 arithmetic: rounded once, in blocks of any size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from helpers.kernels import close, random
from steel_megatron.ops import cpu_products, matmul
from steel_megatron.ops.constants import mark_constants

TYPES = [torch.bfloat16, torch.float16]
# (tokens, out features, in features): odd, empty in each dimension, one token, and whole blocks.
SIZES = [(7, 5, 3), (1, 33, 17), (64, 48, 32), (0, 5, 3), (4, 0, 3), (4, 5, 0), (65, 129, 31)]


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cpu_products.VARIABLE, "fp32")


@pytest.fixture(params=[False, True], ids=["whole", "small blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        for name, value in {"TOKEN_ELEMENTS": 60, "ROW_ELEMENTS": 70, "LEAST_TOKENS": 2, "FEW_TOKENS": 0}.items():
            monkeypatch.setattr(matmul, name, value)


def factors(size: tuple[int, int, int], dtype: torch.dtype, strided: bool) -> tuple[Tensor, Tensor, Tensor]:
    """x (T, I), W (O, I), dy (T, O)."""
    tokens, out, features = size
    shapes = [(tokens, features), (out, features), (tokens, out)]
    x, weight, grad = (random(shape, dtype, "cpu", seed, strided) for seed, shape in enumerate(shapes))
    return x, weight, grad


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("strided", [False, True], ids=["dense", "strided"])
def test_products_are_rounded_once(blocks: None, dtype: torch.dtype, size: tuple[int, int, int], strided: bool) -> None:
    x, weight, grad = factors(size, dtype, strided)
    bias = random((size[1],), dtype, "cpu", 3)
    X, W, dY = x.double(), weight.double(), grad.double()
    with torch.no_grad():
        close(matmul.linear(x, weight), X @ W.T)
        close(matmul.linear(x, weight, bias), X @ W.T + bias.double())
    close(matmul.input_gradient(grad, weight), dY @ W)
    close(matmul.weight_gradient(grad, x), dY.T @ X)
    for kind in (torch.float32, dtype):
        start = random((size[1], size[2]), kind, "cpu", 4)
        total = start.clone()
        matmul.add_weight_gradient(total, grad, x)
        close(total, start.double() + dY.T @ X)


@pytest.mark.parametrize("dtype", TYPES)
def test_leading_dimensions_and_gradients(dtype: torch.dtype) -> None:
    shapes = [(2, 3, 8), (6, 8), (6,)]
    given = [random(shape, dtype, "cpu", seed).requires_grad_() for seed, shape in enumerate(shapes)]
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    upstream = random((2, 3, 6), dtype, "cpu", 9)
    matmul.linear(given[0], given[1], given[2]).backward(upstream)
    torch.nn.functional.linear(exact[0], exact[1], exact[2]).backward(upstream.double())
    for ours, theirs in zip(given, exact, strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        close(ours.grad, theirs.grad)


@pytest.mark.parametrize("dtype", TYPES)
def test_batches_of_matrices(dtype: torch.dtype) -> None:
    a, b = (random(shape, dtype, "cpu", seed).requires_grad_() for seed, shape in enumerate([(3, 5, 7), (3, 7, 4)]))
    A, B = (tensor.detach().double().requires_grad_() for tensor in (a, b))
    ours, exact = matmul.multiply(a, b), A @ B
    close(ours, exact)
    ours.sum().backward()
    exact.sum().backward()
    for found, wanted in ((a.grad, A.grad), (b.grad, B.grad)):
        assert found is not None
        assert wanted is not None
        close(found, wanted)


def test_a_compiled_function_takes_the_same_way() -> None:
    x, weight, grad = factors((6, 10, 4), torch.bfloat16, False)

    def both(x: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        return matmul.linear(x, weight), matmul.input_gradient(grad, weight)

    mark_constants()
    compiled: Callable[..., tuple[Tensor, Tensor]] = torch.compile(both, backend="aot_eager")
    with torch.no_grad():
        for found, wanted in zip(compiled(x, weight, grad), both(x, weight, grad), strict=True):
            assert torch.equal(found, wanted)
