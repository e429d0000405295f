"""Activations against torch in fp64."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from helpers.kernels import set_backend
from helpers.outside import mish
from steel_megatron.config import ConfigError, ModelConfig
from steel_megatron.config.activations import ACTIVATIONS
from steel_megatron.ops.activation import activate, check_activation


@pytest.mark.parametrize(("name", "function"), [("swiglu", F.silu), ("geglu", F.gelu)])
@pytest.mark.parametrize("shape", [(0, 8), (3, 2), (2, 70, 96), (5, 3, 4000)])
def test_gated(name, function, shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    gate, up = x.chunk(2, -1)
    expected = function(gate) * up
    grad = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    expected.backward(grad)
    ours = x.detach().float().requires_grad_()
    y = activate(ours, name)
    y.backward(grad.float())
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.grad.double(), x.grad, rtol=1e-4, atol=1e-5)


def test_gated_takes_strided_input():
    x = torch.randn(4, 6, 20, requires_grad=True)
    y = activate(x[:, ::2], "swiglu")
    y.sum().backward()
    assert (x.grad[:, 1::2] == 0).all()
    torch.testing.assert_close(y, F.silu(x[:, ::2, :10]) * x[:, ::2, 10:])


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("gelu", F.gelu),
        ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")),
        ("relu", F.relu),
        ("squared_relu", lambda x: F.relu(x) ** 2),
        ("silu", F.silu),
    ],
)
def test_plain(name, function):
    x = torch.linspace(-4, 4, 101)
    torch.testing.assert_close(activate(x, name), function(x))


def test_an_unknown_name_is_told_how_to_give_ones_own():
    with pytest.raises(ConfigError, match=r"did you mean swiglu"):
        activate(torch.ones(2, 4), "swigluu")


@pytest.mark.parametrize("given", ["helpers.outside:mish", "relu", "squared_relu", "gelu_tanh"])
@pytest.mark.parametrize("backend", ["torch", "steel"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_function_may_be_a_gate(monkeypatch, given, backend, dtype):
    set_backend(monkeypatch, backend)
    function = ACTIVATIONS.load(given)
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(3, 700, 600, generator=generator).to(dtype).double().requires_grad_()  # several strips
    gate, up = exact.chunk(2, -1)
    expected = function(gate) * up
    grad = torch.randn(expected.shape, generator=generator).to(dtype)
    expected.backward(grad.double())
    x = exact.detach().to(dtype).requires_grad_()
    y = activate(x, f"{given} {{gated: true}}")
    assert y.dtype == dtype
    y.backward(grad)
    loose = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 3e-2, "atol": 3e-2}
    torch.testing.assert_close(y.double(), expected, **loose)
    torch.testing.assert_close(x.grad.double(), exact.grad, **loose)


def test_a_plain_function_from_outside_keeps_its_input_alone():
    x = torch.linspace(-4, 4, 102).view(6, 17).requires_grad_()
    with saved_tensors() as saved:
        y = activate(x, "helpers.outside:mish")
    assert [tensor.shape for tensor in saved] == [x.shape]
    assert saved[0].untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    y.sum().backward()
    expected = torch.autograd.grad(mish(x).sum(), x)[0]
    torch.testing.assert_close(x.grad, expected)


@contextmanager
def saved_tensors():
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        yield saved


def test_what_is_no_activation_is_refused():
    for given, said in {
        "helpers.outside:softmax": "other values for a part",
        "helpers.outside:detached": "does not require grad",
        "helpers.outside:failing": "RuntimeError: not today",
        "math:sqrt": "fails: ",
        "torch:sum": "gives",
        "builtins:repr": "no tensor",
    }.items():
        with pytest.raises(ConfigError, match=said):
            check_activation(given)
    check_activation("helpers.outside:mish {gated: true}")
    check_activation("gelu")


@pytest.mark.parametrize("given", ["gelu {gatd: true}", "gelu {gated: 3}", "swiglu {gated: true}"])
def test_gated_is_the_one_parameter(given):
    with pytest.raises(ConfigError, match="gated, true or false"):
        ModelConfig(activation=given).check()
    assert ModelConfig(activation="gelu {gated: true}").gated
    assert not ModelConfig(activation="gelu {gated: false}").gated
