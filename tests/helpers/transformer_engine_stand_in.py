"""A package with Transformer Engine's names, signatures and rules, which computes with torch on a CPU.

It follows what Transformer Engine documents: a Linear rounds to 8 bits inside an autocast region only, keeps its
rounded weight when it is told which micro-batch is the first, then writes that micro-batch's gradient to ``main_grad``
and adds the others', and reads its parameters from itself in the backward pass.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from steel_megatron.ops import backends, packages
from steel_megatron.ops.scaled_matmul import E4M3, E5M2, largest_magnitude, quantise


class Format(enum.Enum):
    E4M3 = "e4m3"
    HYBRID = "hybrid"


@dataclasses.dataclass
class Float8CurrentScaling:
    fp8_format: Format = Format.HYBRID


@dataclasses.dataclass
class DelayedScaling:
    margin: int = 0
    fp8_format: Format = Format.HYBRID
    amax_history_len: int = 1024
    amax_compute_algo: str = "max"
    reduce_amax: bool = True


class autocast:  # noqa: N801 - its name there
    """An object per region; ``active`` are the regions entered now, ``entered`` all so far."""

    active: ClassVar[list[autocast]] = []
    entered: ClassVar[list[autocast]] = []

    def __init__(
        self, enabled: bool = True, calibrating: bool = False, recipe: Any = None, amax_reduction_group: Any = None
    ) -> None:
        self.recipe = recipe if enabled else None
        self.group = amax_reduction_group

    def __enter__(self) -> autocast:
        autocast.active.append(self)
        autocast.entered.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        autocast.active.remove(self)


def fp8_autocast(
    enabled: bool = True, calibrating: bool = False, fp8_recipe: Any = None, fp8_group: Any = None
) -> autocast:
    return autocast(enabled, calibrating, fp8_recipe, fp8_group)


class Linear(nn.Module):
    made: ClassVar[list[Linear]] = []

    def __init__(
        self,
        in_features: int,
        out_features: int,
        sequence_parallel: bool = False,
        fuse_wgrad_accumulation: bool = False,
        tp_group: Any = None,
        tp_size: int = 1,
        get_rng_state_tracker: Any = None,
        init_method: Any = None,
        bias: bool = True,
        return_bias: bool = False,
        params_dtype: torch.dtype | None = None,
        parallel_mode: str | None = None,
        parameters_split: Any = None,
        device: torch.device | str = "cuda",
    ) -> None:
        super().__init__()
        assert (parallel_mode, tp_size, sequence_parallel, return_bias) == (None, 1, False, False)
        weight = torch.empty(out_features, in_features, dtype=params_dtype, device=device)
        (init_method or nn.init.normal_)(weight)
        self.weight = nn.Parameter(weight)
        self.use_bias = bias
        self.bias = nn.Parameter(torch.zeros(out_features, dtype=params_dtype, device=device)) if bias else None
        self.fuse_wgrad_accumulation = fuse_wgrad_accumulation
        self.kept: torch.Tensor | None = None
        self.told: list[bool | None] = []
        Linear.made.append(self)

    def forward(self, inp: torch.Tensor, is_first_microbatch: bool | None = None) -> torch.Tensor:
        inp.view(-1, inp.shape[-1])  # a strided input would be refused
        self.told.append(is_first_microbatch)
        recipe = autocast.active[-1].recipe if autocast.active else None
        y = _Linear.apply(inp, self.weight, self, recipe, is_first_microbatch)
        return y if self.bias is None else y + self.bias


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, module: Linear, recipe: Any, first: Any) -> Any:
        ctx.module, ctx.recipe, ctx.first = module, recipe, first
        if recipe is None or first is not False:
            module.kept = rounded(weight, recipe, E4M3)
        ctx.weight = module.kept
        x = rounded(x, recipe, E4M3)
        ctx.save_for_backward(x)
        return x @ ctx.weight.t()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (x,), module = ctx.saved_tensors, ctx.module
        hybrid = ctx.recipe is not None and ctx.recipe.fp8_format is Format.HYBRID
        dy = rounded(grads[0], ctx.recipe, E5M2 if hybrid else E4M3)
        dweight = dy.flatten(0, -2).t() @ x.flatten(0, -2)
        assert module.fuse_wgrad_accumulation
        if ctx.first is True:
            module.weight.main_grad.copy_(dweight)
        else:
            module.weight.main_grad.add_(dweight)
        return dy @ ctx.weight, None, None, None, None


def rounded(x: torch.Tensor, recipe: Any, dtype: torch.dtype) -> torch.Tensor:
    return x if recipe is None else quantise(x, dtype, largest_magnitude(x)).values().to(x.dtype)


class _Norm(nn.Module):
    made: ClassVar[list[_Norm]] = []

    def __init__(
        self,
        normalized_shape: int,
        *,
        eps: float = 1e-5,
        device: torch.device | str = "cuda",
        dtype: torch.dtype | None = None,
        zero_centered_gamma: bool = False,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(normalized_shape, device=device, dtype=dtype))
        _Norm.made.append(self)


class RMSNorm(_Norm):
    def forward(self, inp: torch.Tensor) -> torch.Tensor:
        return nn.functional.rms_norm(inp, self.weight.shape, self.weight, self.eps)


class LayerNorm(_Norm):
    def __init__(self, normalized_shape: int, **more: Any) -> None:
        super().__init__(normalized_shape, **more)
        self.bias = nn.Parameter(torch.zeros_like(self.weight))

    def forward(self, inp: torch.Tensor) -> torch.Tensor:
        return nn.functional.layer_norm(inp, self.weight.shape, self.weight, self.bias, self.eps)


RECIPE, PYTORCH = "transformer_engine.common.recipe", "transformer_engine.pytorch"
MODULES = ("transformer_engine", "transformer_engine.common", RECIPE, PYTORCH)


def install(old: bool = False) -> None:
    """Puts the package into ``sys.modules`` and lets the policy find it on CPUs; ``old``: before autocast had its name.

    A process of its own calls it as it is, a test after :func:`restore_after`.
    """
    for name in MODULES:
        sys.modules[name] = ModuleType(name)
    recipe, pytorch = sys.modules[RECIPE], sys.modules[PYTORCH]
    for made in (Format, Float8CurrentScaling, DelayedScaling):
        setattr(recipe, made.__name__, made)
    for made in (Linear, RMSNorm, LayerNorm, fp8_autocast if old else autocast):
        setattr(pytorch, made.__name__, made)
    backends.BACKENDS["te"] = dataclasses.replace(backends.BACKENDS["te"], missing=lambda device_type: None)
    for record in (Linear.made, _Norm.made, autocast.entered):
        record.clear()


def restore_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no package until a test installs this one, which is gone after it, as what it asks for is."""
    packages.why_not_importable.cache_clear()
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    for policy in ("BACKENDS", "_requested", "_orders"):
        monkeypatch.setattr(backends, policy, dict(getattr(backends, policy)))
