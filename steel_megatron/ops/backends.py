"""Which implementation serves each operation: one policy, in one place.

Everything has a torch implementation that is always there and always right. Faster ones are found when first asked
for; what is chosen and why is told by :func:`report`, which ``steel doctor`` prints.
"""

from __future__ import annotations

import functools
import importlib.metadata
from dataclasses import dataclass

import torch
from torch import Tensor

from steel_megatron.config import ConfigError
from steel_megatron.ops.native import library


@dataclass(frozen=True)
class Choice:
    """The implementation chosen for an operation on a kind of device, and the reason."""

    implementation: str
    reason: str

    def __str__(self) -> str:
        return f"{self.implementation} ({self.reason})"


def installed_version(package: str) -> str | None:
    """Version of an installed package by its distribution's name; None if it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


VARLEN = "torch varlen_attn"
PER_DOCUMENT = "torch SDPA per document"


def attention_choice(device_type: str) -> Choice:
    """Attention over whole sequences."""
    if device_type == "cuda":
        enabled = [
            name
            for name, on in (
                ("flash", torch.backends.cuda.flash_sdp_enabled()),
                ("cuDNN", torch.backends.cuda.cudnn_sdp_enabled()),
                ("memory-efficient", torch.backends.cuda.mem_efficient_sdp_enabled()),
                ("math", torch.backends.cuda.math_sdp_enabled()),
            )
            if on
        ]
        return Choice("torch SDPA", f"torch picks by shape among {', '.join(enabled)}")
    return Choice("torch SDPA", "torch's flash kernel for CPUs; grouped heads are not copied")


@functools.cache
def packed_attention_choice(device_type: str, dtype: torch.dtype = torch.bfloat16, head_dim: int = 128) -> Choice:
    """Attention within documents (``--reset-attention-mask``); the kernel for packed sequences is FlashAttention."""
    if device_type != "cuda":
        return Choice(PER_DOCUMENT, "varlen kernels need a GPU")
    if dtype not in (torch.bfloat16, torch.float16):
        return Choice(PER_DOCUMENT, f"varlen kernels take bf16 and fp16, not {str(dtype).removeprefix('torch.')}")
    if head_dim > 256:
        return Choice(PER_DOCUMENT, f"varlen kernels take heads up to 256, not {head_dim}")
    if torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0):
        return Choice(PER_DOCUMENT, "varlen kernels need compute capability 8.0 (Ampere)")
    return Choice(VARLEN, "documents by their lengths, no mask")


KERNEL_BACKENDS = ("auto", "steel", "torch")

# Operations with compiled kernels, and on which kinds of device auto takes them: where benchmarks/kernels.py measured
# them faster than what torch offers. No CUDA kernel has been measured.
KERNELS: dict[str, frozenset[str]] = {
    "rms_norm": frozenset({"cpu"}),
    "swiglu": frozenset({"cpu"}),
    "rope": frozenset({"cpu"}),
    "cross_entropy": frozenset({"cpu"}),
    "adamw": frozenset({"cpu"}),
    "gradient_norm": frozenset({"cpu"}),
}
_requested = "auto"


def use_kernel_backend(name: str, device_type: str) -> None:
    """What ``--kernel-backend`` says, for all that follows in this process.

    Raises:
        ConfigError: ``steel`` without compiled kernels for the device.
    """
    global _requested
    if name not in KERNEL_BACKENDS:
        raise ConfigError(f"--kernel-backend {name}", rule=f"it is one of {', '.join(KERNEL_BACKENDS)}")
    if name == "steel" and not library.built(device_type):
        raise ConfigError(
            f"--kernel-backend steel on {device_type}",
            rule="the compiled kernels of this package are built for the device",
            fix="pip install --no-build-isolation . where g++ (and nvcc for CUDA) are, or --kernel-backend auto",
        )
    _requested = name


def kernel_choice(operation: str, device_type: str) -> Choice:
    """Ours or torch for an operation with compiled kernels."""
    if _requested == "torch":
        return Choice("torch", "as --kernel-backend asks")
    if not library.built(device_type):
        return Choice("torch", "compiled kernels were not built")
    if _requested == "steel":
        return Choice("steel", "as --kernel-backend asks")
    if device_type in KERNELS[operation]:
        return Choice("steel", "measured faster than torch's; benchmarks/kernels.py")
    return Choice("torch", "our kernel has not been measured faster")


def serves(operation: str, *tensors: Tensor | None) -> bool:
    """Whether the compiled kernel runs an operation on these tensors; else torch does."""
    given = tensors[0]
    assert given is not None
    return kernel_choice(operation, given.device.type).implementation == "steel" and library.fits(*tensors)


def report() -> dict[str, str]:
    """What every operation will use on this machine, in words."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    choices = {
        "attention": attention_choice(device),
        "attention within documents": packed_attention_choice(device),
        "RMSNorm": kernel_choice("rms_norm", device),
        "RoPE": kernel_choice("rope", device),
        "SwiGLU": kernel_choice("swiglu", device),
        "cross entropy": kernel_choice("cross_entropy", device),
        "optimizer": kernel_choice("adamw", device),
        "gradient norm": kernel_choice("gradient_norm", device),
    }
    unused = {
        name: version
        for name, package in (
            ("flash-attn", "flash-attn"),
            ("transformer-engine", "transformer-engine"),
            ("apex", "apex"),
        )
        if (version := installed_version(package))
    }
    found = {name: str(choice) for name, choice in choices.items()}
    if unused:
        listed = ", ".join(f"{name} {version}" for name, version in unused.items())
        found["installed, not used by this version"] = listed
    return found
