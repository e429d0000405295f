"""Activations of the MLP.

Shapes: gate_up (…, 2F) holds the gate's F channels, then the up projection's; plain activations take (…, F).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from steel_megatron.config import ConfigError
from steel_megatron.config.activations import ACTIVATIONS, is_gated
from steel_megatron.config.registry import split
from steel_megatron.ops.backends import fused
from steel_megatron.ops.cases import Case, Setting
from steel_megatron.ops.compiled import activation as compiled
from steel_megatron.ops.native import activation as native
from steel_megatron.ops.operations import KERNELS_OR_COMPILED, Operation, declare
from steel_megatron.ops.strips import row_strips

_FUSED = {"steel": native, "compiled": compiled}


@dataclass(frozen=True)
class Activation:
    """An activation by its name in the configuration.

    ``kernel`` is what the fused kernels call its function; empty where they have none, as of all from outside.
    """

    function: Callable[[Tensor], Tensor]
    kernel: str
    gated: bool

    def __call__(self, x: Tensor) -> Tensor:
        """f(x): (…, F) → (…, F), or f(gate) * up: (…, 2F) → (…, F)."""
        if self.kernel:
            operation = "gelu" if self.kernel == "gelu" and not self.gated else "activation"
            kernels = fused(operation, _FUSED, x)
            if kernels is not None:
                return kernels.activation(x, self.kernel, self.gated)
            if self.gated and self.kernel in _GATED:
                return _Gated.apply(x, self.kernel)
            if not self.gated:
                return self.function(x)
        return _MadeAgain.apply(x, self.function, self.gated)


def activation_of(given: str) -> Activation:
    """The activation of that name; ``name {gated: true}`` makes it a gate.

    Raises:
        ConfigError: there is none.
    """
    function = ACTIVATIONS.load(given, "--activation")
    name, _ = split(given)
    kernel = _KERNELS.get(name, name)
    known = kernel in native.FUNCTIONS and not ACTIVATIONS.outside(given)
    return Activation(function, kernel if known else "", is_gated(given))


def activate(x: Tensor, given: str) -> Tensor:
    """The activation of that name on a tensor; see :class:`Activation`."""
    return activation_of(given)(x)


def check_activation(given: str) -> None:
    """Tries an activation from outside on a few numbers.

    Raises:
        ConfigError: there is none, it fails, is not differentiable, or does not go element by element.
    """
    if not ACTIVATIONS.outside(given):
        return
    function = activation_of(given).function
    x = torch.linspace(-3.0, 3.0, 24).view(4, 6).requires_grad_()
    try:
        y = function(x)
        wrong = "" if isinstance(y, Tensor) else f"gives {y!r}, no tensor"
        if not wrong and y.shape != x.shape:
            wrong = f"gives {list(y.shape)} for {list(x.shape)}"
        if not wrong and not torch.allclose(y[1:3, 2:5], function(x[1:3, 2:5]), equal_nan=True):
            wrong = "gives other values for a part of the tensor"
        if not wrong:
            torch.autograd.grad(y.sum(), x)
    except Exception as error:  # whatever another's function raises
        wrong = f"fails: {type(error).__name__}: {error}"
    if wrong:
        raise ConfigError(
            f"--activation {given} {wrong}",
            rule="an activation is a differentiable function of a tensor, element by element: ranks have parts of it",
            fix="write it with torch's operations on the tensor it is given",
        )


def squared_relu(x: Tensor) -> Tensor:
    """So et al., 2021."""
    return F.relu(x).square()


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its approximation with tanh."""
    return F.gelu(x, approximate="tanh")


# Names here → names of the kernels' functions, where they are not the same. SwiGLU and GEGLU (exact): Shazeer, 2020.
_KERNELS = {"swiglu": "silu", "geglu": "gelu"}

# What a gate goes through: forward, and its gradient written where it belongs.
_GATED: dict[str, tuple[Callable[[Tensor], Tensor], Callable[..., Tensor]]] = {
    "silu": (F.silu, torch.ops.aten.silu_backward.grad_input),
    "gelu": (F.gelu, torch.ops.aten.gelu_backward.grad_input),
}


class _Gated(torch.autograd.Function):
    """Saves its input only; the activation is computed again in the backward pass, and gradients need no cat."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor, name: str) -> Tensor:
        ctx.save_for_backward(gate_up)
        ctx.name = name
        gate, up = gate_up.chunk(2, dim=-1)
        return _GATED[name][0](gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (gate_up,) = ctx.saved_tensors
        activate, write_gradient = _GATED[ctx.name]
        width = gate_up.shape[-1]
        flat, grad = gate_up.reshape(-1, width), grads[0].reshape(-1, width // 2)
        result = torch.empty_like(flat)
        for rows in row_strips(len(flat), width, flat.device):
            gate, up = flat[rows].chunk(2, dim=-1)
            grad_gate, grad_up = result[rows].chunk(2, dim=-1)
            torch.mul(grad[rows], activate(gate), out=grad_up)
            write_gradient(grad[rows] * up, gate, grad_input=grad_gate)
        return result.view_as(gate_up), None


class _MadeAgain(torch.autograd.Function):
    """Any function, gated or not. Saves its input only: the function and its gradient are computed in strips."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor], gated: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.function, ctx.gated = function, gated
        return _value(x, function, gated)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        flat, grad = x.reshape(-1, x.shape[-1]), grads[0].reshape(-1, grads[0].shape[-1])
        result = torch.empty_like(flat)
        for rows in row_strips(len(flat), x.shape[-1], flat.device):
            with torch.enable_grad():
                part = flat[rows].detach().requires_grad_()
                value = _value(part, ctx.function, ctx.gated)
            result[rows] = torch.autograd.grad(value, part, grad[rows])[0]
        return result.view_as(x), None, None


def _value(x: Tensor, function: Callable[[Tensor], Tensor], gated: bool) -> Tensor:
    if not gated:
        return function(x).to(x.dtype)
    gate, up = x.chunk(2, dim=-1)
    return function(gate).to(x.dtype) * up


def _case(at: Setting) -> Case:
    return at.differentiable(activation_of("swiglu"), [at.random(at.batch, at.length, 2 * at.model.ffn_hidden_size)])


declare(
    "activation", Operation("activation", ("steel", "compiled", "torch"), KERNELS_OR_COMPILED, price=2.0, case=_case)
)
declare(
    "gelu",
    Operation(
        "exact GELU without a gate",
        ("steel", "torch"),
        {
            "cpu": {"torch": "torch's was measured faster, on CPUs with AVX-512, and ours keeps more digits"},
            "cuda": {"torch": "one pass as well"},
        },
        measured=False,
    ),
)
