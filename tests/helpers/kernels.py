"""Where compiled kernels can be tested, and random tensors for them."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor

from helpers.cuda_emulator import build
from steel_megatron.ops import backends
from steel_megatron.ops.native import library

needs_cpu_kernels = pytest.mark.skipif(not library.built("cpu"), reason="steel_megatron._ops was not built")
GPU = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
        pytest.mark.skipif(not library.built("cuda"), reason="the CUDA kernels were not built"),
    ],
)
REAL_DEVICES = [pytest.param("cpu", marks=needs_cpu_kernels), GPU]
# The CUDA kernels on a CPU: tests/ops/native/conftest.py routes what is marked so.
EMULATED = pytest.param(
    "cpu",
    id="emulated",
    marks=[pytest.mark.emulated, pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))],
)
CUDA_DEVICES = [GPU, EMULATED]
DEVICES = [*REAL_DEVICES, EMULATED]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Half a unit in the last place of the result, and of what fp32 arithmetic adds.
RELATIVE = {torch.float32: 2e-5, torch.bfloat16: 2**-8, torch.float16: 2**-11}


def instruction_sets() -> list[ModuleType]:
    """The CPU kernels for every instruction set of this processor."""
    if not library.built("cpu"):
        return []
    from steel_megatron import _ops

    return [getattr(_ops, name) for name in ("base", "avx2", "avx512", "avx512_bf16") if hasattr(_ops, name)]


def random(shape: tuple[int, ...], dtype: torch.dtype, device: str, seed: int, strided: bool = False) -> Tensor:
    """Standard normal, the same on every device; strided: every second element of wider rows."""
    wide = (*shape[:-1], shape[-1] * 2) if strided else shape
    values = torch.randn(wide, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.to(device, dtype)[..., :: 2 if strided else 1]


def close(ours: Tensor, exact: Tensor, factor: float = 1.0, absolute: float = 1e-6) -> None:
    """Within ``factor`` roundings of the type of ``ours``, and as much of the largest element."""
    relative = RELATIVE[ours.dtype] * factor
    largest = float(exact.detach().abs().max()) if exact.numel() else 0.0
    torch.testing.assert_close(
        ours.double().cpu(), exact.double().cpu(), rtol=relative, atol=absolute + 2e-6 * factor * largest
    )


def set_backend(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Until the end of the test."""
    monkeypatch.setattr(backends, "_requested", {"--kernel-backend": name})
    monkeypatch.setattr(backends, "_orders", {})
