"""Transformer Engine's modules over parameters that are ours.

Written against its documented interface (transformer_engine.pytorch 2.x: Linear, RMSNorm, LayerNorm, autocast, and
fp8_autocast before 2.9; the recipes of transformer_engine.common). A module is made for each parameter and then holds
that very parameter, because Transformer Engine's backward passes read it from the module. Modules stay out of the
model's tree: names, checkpoints and gradients know the parameters alone.

Shapes: … leading dimensions, I in features, O out features, H hidden.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from steel_megatron.config import ConfigError
from steel_megatron.ops import backends


def require(device_type: str) -> None:
    """Raises :class:`ConfigError`, which names the command that installs it, where it cannot be used."""
    te = backends.BACKENDS["te"]
    why = te.missing(device_type)
    if why is not None:
        raise ConfigError(
            f"--transformer-impl transformer_engine on {device_type}",
            rule=why,
            fix=f"{te.install}, or --transformer-impl local",
        )


def linear(weight_OI: nn.Parameter, bias_O: nn.Parameter | None) -> nn.Module:
    """A Linear of ours: it adds the weight's gradient to ``weight.main_grad`` itself and communicates nothing.

    It is called as ``module(x, is_first_microbatch=…)``. With True (the first micro-batch after the weights changed) it
    rounds the weight anew and *writes* the gradient; with False it uses the rounded weight again and adds; with None it
    rounds and adds. The micro-batch that comes first forward must come first backward, which all schedules here do.
    """
    out_features, in_features = weight_OI.shape
    module = _pytorch().Linear(
        in_features,
        out_features,
        bias=bias_O is not None,
        init_method=_leave_as_is,
        params_dtype=weight_OI.dtype,
        device=weight_OI.device,
        fuse_wgrad_accumulation=True,
    )
    return _holding(module, weight_OI, bias_O)


def make_recipe(fp8_format: str, name: str, amax_history_len: int, reduce_amax: bool) -> Any:
    """The recipe of ``--fp8-format`` and ``--fp8-recipe``.

    Args:
        amax_history_len: steps; for delayed scaling.
        reduce_amax: several ranks share the scales of delayed scaling.
    """
    recipes = importlib.import_module("transformer_engine.common.recipe")
    form = {"hybrid": recipes.Format.HYBRID, "e4m3": recipes.Format.E4M3}[fp8_format]
    if name == "tensorwise":
        return recipes.Float8CurrentScaling(fp8_format=form)
    return recipes.DelayedScaling(
        fp8_format=form, amax_history_len=amax_history_len, amax_compute_algo="max", reduce_amax=reduce_amax
    )


def autocast(recipe: Any, amax_group: Any) -> AbstractContextManager[Any]:
    """The region in which Linears multiply in 8 bits; ``amax_group``: ranks that share the scales, None for one."""
    pytorch = _pytorch()
    if hasattr(pytorch, "autocast"):
        return pytorch.autocast(enabled=True, recipe=recipe, amax_reduction_group=amax_group)
    return pytorch.fp8_autocast(enabled=True, fp8_recipe=recipe, fp8_group=amax_group)


def rms_norm(x: Tensor, weight_H: Tensor, epsilon: float) -> Tensor:
    """RMSNorm over the last dimension; ``weight_H`` is a parameter."""
    return _norm("RMSNorm", x, weight_H, None, epsilon)


def layer_norm(x: Tensor, weight_H: Tensor, bias_H: Tensor | None, epsilon: float) -> Tensor:
    """LayerNorm over the last dimension; ``weight_H`` and ``bias_H`` are parameters."""
    return _norm("LayerNorm", x, weight_H, bias_H, epsilon)


def _norm(kind: str, x: Tensor, weight_H: Tensor, bias_H: Tensor | None, epsilon: float) -> Tensor:
    module = getattr(weight_H, "te_norm", None)
    if module is None:
        made = getattr(_pytorch(), kind)(weight_H.shape[0], eps=epsilon, device=weight_H.device, dtype=weight_H.dtype)
        module = _holding(made, weight_H, bias_H)
        weight_H.te_norm = module  # type: ignore[attr-defined]  # torch has no place for what belongs to a parameter
    return module(x)


def _holding(module: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None:
            assert isinstance(parameter, nn.Parameter), "a module holds parameters"
            module.register_parameter(name, parameter)
    return module


def _leave_as_is(weight: Tensor) -> Tensor:
    """In place of an initialisation: the values are thrown away, and no random numbers are drawn."""
    return weight


def _pytorch() -> ModuleType:
    return importlib.import_module("transformer_engine.pytorch")
