"""A NaN that goes into a CPU kernel comes out of it, in every instruction set and type; infinities as in torch."""

from __future__ import annotations

import pytest
import torch

from helpers.kernels import DTYPES, instruction_sets, random
from steel_megatron.ops.embedding import embedding_gradient_
from steel_megatron.ops.matmul import few_tokens_linear
from steel_megatron.ops.native import library
from steel_megatron.ops.native.activation import FUNCTIONS, activation
from steel_megatron.ops.native.attention import attention
from steel_megatron.ops.native.cross_entropy import cross_entropy_gradient_, cross_entropy_statistics
from steel_megatron.ops.native.norm import add_rms_norm, layer_norm, rms_norm
from steel_megatron.ops.native.optimizer import adamw_, sum_of_squares
from steel_megatron.ops.native.rope import rope

NAN, INF = torch.nan, torch.inf
# NaN of every kind: quiet, signalling, with either sign, and with bits that integer arithmetic on exponents would move.
NANS = torch.tensor([0x7FC00000, 0x7F800001, 0x7FC001FF, 0x7FFFFFFF, -0x400000, -1], dtype=torch.int32)


@pytest.fixture(params=instruction_sets(), ids=lambda module: module.__name__.rpartition(".")[2])
def kernels(request, monkeypatch):
    monkeypatch.setattr(library, "cpu_module", lambda: request.param)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 7, 40, 300])
def test_cross_entropy(kernels, dtype, columns):
    places = sorted({0, columns // 2, columns - 1})
    logits = random((len(places) + 5, columns + 3), dtype, "cpu", columns)
    for row, place in zip(logits, places, strict=False):
        row[place] = NAN
    logits[-5] = NAN
    logits[-4, 0] = INF
    logits[-3] = -INF
    logits[-3, columns // 2] = INF
    logits[-2] = -INF
    logits[-1] = -INF
    logits[-1, columns - 1] = NAN
    elsewhere = torch.full((len(logits),), 5000)  # the label is on another rank
    partition, target = cross_entropy_statistics(logits, elsewhere, 0, columns)
    expected = torch.logsumexp(logits[:, :columns].float(), 1)
    torch.testing.assert_close(partition, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert not target.any()
    ones = torch.ones(len(logits))
    for row in (0, len(logits) - 1):
        gradient = logits[row : row + 1].clone()
        cross_entropy_gradient_(gradient, elsewhere[:1], partition[row : row + 1], ones[:1], ones[:1], 0, columns)
        assert gradient[:, :columns].isnan().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("token", [0, 5, 66])
def test_attention(kernels, dtype, token):
    starts = torch.tensor([0, 90], dtype=torch.int32)
    for place in range(4):  # of queries, keys, values, the gradient
        for bits in NANS if dtype == torch.float32 else NANS[:1]:
            heads = [random((90, 2, 16), dtype, "cpu", n) for n in range(4)]
            heads[place][token, 1, 3] = bits.view(torch.float32).to(dtype)
            given = [x.clone().requires_grad_() for x in heads[:3]]
            y, partition = attention(*given, starts)
            grads = torch.autograd.grad(y, given, heads[3])
            own, after = slice(token, token + 1), slice(token, None)
            wrong = (own, after, after, slice(0, 0))[place]
            assert y[wrong, 1].isnan().flatten(1).any(1).all()
            assert y[:, 0].isfinite().all()
            if place < 2:
                assert y[wrong, 1].isnan().all()
                assert partition[1, wrong].isnan().all()
                assert y[:token].isfinite().all()  # later tokens are not looked at
            # The query's row, and what it looks at; or, where keys or values are at fault, all that look at those.
            assert grads[0][after if place in (1, 2) else own, 1].isnan().flatten(1).any(1).all()
            assert grads[1][: token + 1, 1].isnan().flatten(1).any(1).all()
            assert all(grad[:, 0].isfinite().all() for grad in grads)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows(kernels, dtype):
    """Norms and activations: the row with a NaN, and no other."""
    x, weight = random((3, 37), dtype, "cpu", 0), torch.ones(37, dtype=dtype)
    x[1, 36] = NAN
    y, _ = rms_norm(x, weight, 1e-5)
    summed, total, _ = add_rms_norm(torch.zeros_like(x), x, weight, 1e-5)
    centred, _, _ = layer_norm(x, weight, weight, 1e-5)
    for result in (y, summed, centred):
        assert result[1].isnan().all()
        assert result[::2].isfinite().all()
    assert torch.equal(total.isnan(), x.isnan())
    leaf, parameter = torch.ones_like(x).requires_grad_(), weight.clone().requires_grad_()
    grad_x, grad_weight = torch.autograd.grad(rms_norm(leaf, parameter, 1e-5)[0], (leaf, parameter), x)
    assert grad_x[1].isnan().all()
    assert grad_x[::2].isfinite().all()
    assert torch.equal(grad_weight.isnan(), x[1].isnan())
    for function in FUNCTIONS:
        leaf = x.clone().requires_grad_()
        y = activation(leaf, function, False)
        assert torch.equal(y.isnan(), x.isnan())
        (slopes,) = torch.autograd.grad(y, leaf, torch.ones_like(y))
        assert torch.equal(slopes.isnan(), x.isnan() & (function != "relu"))
        ones = torch.ones_like(x).requires_grad_()
        (slopes,) = torch.autograd.grad(activation(ones, function, False), ones, x)
        assert torch.equal(slopes.isnan(), x.isnan())


@pytest.mark.parametrize("dtype", DTYPES)
def test_elements(kernels, dtype):
    """RoPE, the embedding's gradient, a linear layer for a few tokens."""
    x = random((1, 3, 2, 8), dtype, "cpu", 0)
    x[0, 1, 0, 2] = NAN
    angle = torch.ones(1, 3, 1, 4)
    turned = rope(x, angle.cos(), angle.sin(), False)
    assert turned.isnan().nonzero().tolist() == [[0, 1, 0, 2], [0, 1, 0, 6]]
    table, grad = torch.zeros(5, 33), random((4, 33), dtype, "cpu", 1)
    grad[2, 32] = NAN
    embedding_gradient_(table, grad, torch.tensor([1, 3, 3, 4]))
    assert table.isnan().nonzero().tolist() == [[3, 32]]
    product = few_tokens_linear(grad, torch.ones(3, 33, dtype=dtype), None)
    assert product.isnan().any(1).tolist() == product.isnan().all(1).tolist() == [False, False, True, False]


@pytest.mark.parametrize("moment", [torch.float32, torch.bfloat16])
def test_optimizer(kernels, moment):
    grad = random((40,), torch.float32, "cpu", 0)
    grad[39] = NAN
    assert sum_of_squares([grad]).isnan()
    master, first, second = torch.ones(40), torch.zeros(40, dtype=moment), torch.zeros(40, dtype=moment)
    parameter = torch.ones(40, dtype=torch.bfloat16)
    scale = torch.ones((), dtype=torch.float64)
    places = [0, 0, 0, 40]
    adamw_([parameter], [master], [grad], [first], [second], [True], places, scale, 1e-3, 0.9, 0.95, 1e-8, 0.1, 1)
    for tensor in (parameter, master, first, second):
        assert torch.equal(tensor.isnan(), grad.isnan())
