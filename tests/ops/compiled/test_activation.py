"""Compiled activations: the numbers of the references, gated and not."""

from __future__ import annotations

import pytest
import torch

from helpers.compiled_ops import check, check_fakes, dtypes, tensors
from steel_megatron.config.activations import ACTIVATIONS, GATED
from steel_megatron.ops.activation import activate
from steel_megatron.ops.compiled import activation


@dtypes
@pytest.mark.parametrize("name", [*ACTIVATIONS.shipped])
def test_activations(as_written, dtype, name):
    if name == "gelu":  # auto leaves it to torch
        check("activation", lambda x: activation.activation(x, name, False), tensors(dtype, (4, 7, 10)))
    else:
        check("activation", lambda x: activate(x, name), tensors(dtype, (4, 7, 20 if name in GATED else 10)))


@dtypes
@pytest.mark.parametrize("function", ["silu", "gelu"])
def test_a_gate_is_rounded_once(as_written, dtype, function):
    """f(gate) * up in fp32, where two operations of torch's would round twice."""
    x = tensors(dtype, (64, 40))[0]
    gate, up = x.float().chunk(2, dim=-1)
    assert torch.equal(
        activation.activation(x, function, True), (getattr(torch.nn.functional, function)(gate) * up).to(dtype)
    )


@pytest.mark.parametrize("fake", [False, True], ids=["computed", "traced"])
def test_a_gate_has_as_many_channels_as_what_it_lets_through(as_written, fake):
    x = torch.ones(2, 7, device="meta" if fake else "cpu")
    with pytest.raises(ValueError, match="7 channels together: it must be an even number"):
        activation.activation(x, "silu", True)


def test_fakes_say_what_comes_out(as_written):
    (x,) = tensors(torch.bfloat16, (2, 3, 24))
    check_fakes(
        (activation.activation, (x, "silu", True)),
        (activation.activation, (x[:0], "relu", False)),
        (activation.activation, (x.transpose(0, 1), "gelu_tanh", False)),
        (activation.activation_backward, (x[..., :12].contiguous(), x, "silu", True)),
    )


@pytest.mark.slow
def test_what_is_compiled_computes_what_is_written():
    check("activation", lambda x: activate(x, "swiglu"), tensors(torch.bfloat16, (4, 7, 20)))
