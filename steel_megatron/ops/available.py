"""Where implementations come from: whether each source is here, why it is not, and which tensors it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from steel_megatron.config.texts import first_line
from steel_megatron.ops import apex, flash_attention
from steel_megatron.ops.compiled import compiler
from steel_megatron.ops.native import attention as native_attention
from steel_megatron.ops.native import library, served
from steel_megatron.ops.native import quantise as native_quantise
from steel_megatron.ops.packages import NEEDS_GPU, why_no_gpu, why_not_importable


@dataclass(frozen=True)
class Backend:
    """A source of implementations.

    Args:
        missing: why a kind of device cannot use it; None if it can.
        fits: whether it takes given tensors.
        install: the step that brings it here, if there is one.
    """

    missing: Callable[[str], str | None]
    fits: Callable[..., bool]
    install: str = ""


def _anything(*tensors: Tensor | None) -> bool:
    return True


def _steel_cpu_missing(device_type: str) -> str | None:
    return served.why_not("cpu") if device_type == "cpu" else "our attention kernel is for CPUs"


def _steel_cuda_missing(device_type: str) -> str | None:
    return served.why_not("cuda") if device_type == "cuda" else NEEDS_GPU


def _apex_missing(device_type: str) -> str | None:
    return why_no_gpu(device_type, least=(7, 0)) or why_not_importable(*apex.MODULES)


def _te_missing(device_type: str) -> str | None:
    return why_no_gpu(device_type) or why_not_importable("transformer_engine.pytorch")


def _te_fits(*tensors: Tensor | None) -> bool:
    """Its modules hold parameters; in norms all tensors but the first are."""
    return library.fits(*tensors) and all(isinstance(t, nn.Parameter) for t in tensors[1:] if t is not None)


def _flash2_missing(device_type: str) -> str | None:
    return why_no_gpu(device_type) or flash_attention.why_not_installed(2)


def _flash3_missing(device_type: str) -> str | None:
    return why_no_gpu(device_type, least=(9, 0), below=(10, 0)) or flash_attention.why_not_installed(3)


def _flash4_missing(device_type: str) -> str | None:
    return why_no_gpu(device_type, least=(9, 0)) or flash_attention.why_not_installed(4)


def _cudnn_missing(device_type: str) -> str | None:
    return why_no_gpu(device_type) or (None if torch.backends.cudnn.is_available() else "this torch has no cuDNN")


def _torch_flash_fits(q: Tensor, k: Tensor, v: Tensor) -> bool:
    return q.device.type == "cpu" or torch.backends.cuda.can_use_flash_attention(_for_torch(q, k, v))


def _cudnn_fits(q: Tensor, k: Tensor, v: Tensor) -> bool:
    return torch.backends.cuda.can_use_cudnn_attention(_for_torch(q, k, v))


def _for_torch(q_BSND: Tensor, k_BSKD: Tensor, v_BSKD: Tensor) -> torch.backends.cuda.SDPAParams:
    """What torch wants to know of a call of its SDPA: no mask, no dropout, causal, grouped heads."""
    q, k, v = (x.transpose(1, 2) for x in (q_BSND, k_BSKD, v_BSKD))
    return torch.backends.cuda.SDPAParams(q, k, v, None, 0.0, True, q.shape[1] != k.shape[1])


def turn_on_in_torch(version: int) -> str | None:
    """Lets torch's own flash attention run FlashAttention 3 or 4 from now on; returns why it cannot, or None."""
    activate = getattr(torch.nn.attention, "activate_flash_attention_impl", None)
    if activate is None:
        return f"torch {torch.__version__} has no switch for it"
    try:
        activate(f"FA{version}")
    except Exception as error:  # the package is missing, or whatever its code raises
        return f"torch cannot turn it on: {first_line(error)}"
    return None


BACKENDS = {
    "torch": Backend(lambda device_type: None, _anything),
    "steel": Backend(served.why_not, library.fits, "pip install . where g++ (and nvcc for CUDA) are"),
    "steel_cpu": Backend(_steel_cpu_missing, native_attention.fits, "pip install . where g++ is"),
    "steel_cuda": Backend(_steel_cuda_missing, native_quantise.fits, "pip install . where g++ and nvcc are"),
    "compiled": Backend(compiler.why_not, library.fits, "pip install triton where a C compiler is"),
    "te": Backend(_te_missing, _te_fits, "pip install --no-build-isolation 'transformer-engine[pytorch]'"),
    "apex": Backend(
        _apex_missing,
        library.fits,
        "APEX_CPP_EXT=1 APEX_CUDA_EXT=1 pip install --no-build-isolation git+https://github.com/NVIDIA/apex",
    ),
    "flash4": Backend(_flash4_missing, flash_attention.fits_4, "pip install flash-attn-4"),
    "flash3": Backend(
        _flash3_missing,
        flash_attention.fits,
        "pip install --no-build-isolation 'git+https://github.com/Dao-AILab/flash-attention#subdirectory=hopper'",
    ),
    "flash2": Backend(_flash2_missing, flash_attention.fits, "pip install --no-build-isolation flash-attn"),
    "cudnn": Backend(_cudnn_missing, _cudnn_fits, "a torch for CUDA from pytorch.org"),
    "varlen": Backend(why_no_gpu, flash_attention.fits),
    "sdpa_flash": Backend(lambda device_type: None, _torch_flash_fits),
    "unfused": Backend(lambda device_type: None, _anything),
    "sdpa": Backend(lambda device_type: None, _anything),
}
