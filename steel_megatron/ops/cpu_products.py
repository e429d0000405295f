"""Which 16-bit numbers this CPU multiplies fast; the others are multiplied in fp32 (matmul.py).

torch multiplies bf16 and fp16 matrices on any CPU, but without instructions for them element by element: on one core
with AVX2, in GFLOP/s, where fp32 gives 30 to 60 (torch 2.13; x Wᵀ, dy W, dyᵀ x of 512 × 512 × 1536):

    instructions     bf16               fp16
    AVX2             3 / 0.4 / 4        4 / 0.4 / 1
    AVX-512          10 / 10 / 9        3 / 0.4 / 0.8
    avx512_bf16      half of fp32       3 / 0.4 / 0.9          (Intel; 200 on a core of an AMD EPYC)
    avx512_fp16      as fp32            as fp32
    AMX              12 times fp32      as fp32 (amx_fp16: not measured)

The rule goes by instructions and not by a measurement of the moment, so that a run that continues multiplies as before.
"""

from __future__ import annotations

import functools
import os
import platform
import re
from pathlib import Path

import torch

from steel_megatron.config import ConfigError
from steel_megatron.ops.constants import constant_in_graphs

VARIABLE = "STEEL_CPU_PRODUCTS"
CHOICES = ("auto", "torch", "fp32")
SIXTEEN_BITS = {torch.bfloat16: "bf16", torch.float16: "fp16"}

# By machine and type: instructions, any of which is enough, and the least limit of oneDNN that lets it use them.
_X86 = {
    torch.bfloat16: {"amx_bf16": "AVX512_CORE_AMX", "avx512_bf16": "AVX512_CORE_BF16"},
    torch.float16: {"amx_fp16": "AVX512_CORE_AMX_FP16", "avx512_fp16": "AVX512_CORE_FP16"},
}
# Intel's bf16 dot products take twice as long as its fp32 multiply-adds: a training step in bf16 took 1.9 s by them and
# 1.4 s in fp32 arithmetic (Sapphire Rapids without AMX).
_SLOW = {"GenuineIntel": {"avx512_bf16"}}
_ARM = {torch.bfloat16: {"bf16": "ALL"}, torch.float16: {}}
_INSTRUCTIONS = {"x86_64": _X86, "aarch64": _ARM}

# oneDNN's names for its limit, in its order; other names are newer ones, and limit nothing that matters here.
_LIMIT_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_LIMITS = (
    *("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2"),
    *("AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16", "AVX512_CORE_FP16"),
    *("AVX512_CORE_AMX", "AVX512_CORE_AMX_FP16"),
)


def in_fp32(x: torch.Tensor) -> bool:
    """Whether matrices like ``x`` are multiplied in fp32 because the device has no fast products of their type."""
    return x.device.type == "cpu" and cpu_in_fp32(x.dtype)


@constant_in_graphs
def cpu_in_fp32(dtype: torch.dtype) -> bool:
    """The same for a type on this CPU.

    Raises:
        ConfigError: STEEL_CPU_PRODUCTS is none of its values.
    """
    if dtype not in SIXTEEN_BITS:
        return False
    asked = os.environ.get(VARIABLE, "auto")
    if asked not in CHOICES:
        raise ConfigError(f"{VARIABLE}={asked}", rule=f"it is one of {', '.join(CHOICES)}")
    return asked == "fp32" or (asked == "auto" and instruction(dtype) is None)


def report() -> dict[str, str]:
    """How each 16-bit type is multiplied on this CPU, in words."""
    return {f"{name} matmuls on the CPU": how(dtype) for dtype, name in SIXTEEN_BITS.items()}


def how(dtype: torch.dtype) -> str:
    """What multiplies a 16-bit type on this CPU, and why."""
    way = "fp32 arithmetic" if cpu_in_fp32(dtype) else "torch"
    asked = os.environ.get(VARIABLE, "auto")
    if asked != "auto":
        return f"{way} (as {VARIABLE}={asked} asks)"
    found, slow = instruction(dtype), slow_instruction(dtype)
    if found is None and slow is not None:
        return f"{way} (faster here than {slow})"
    return f"{way} ({found})" if found else f"{way} (no instructions for them that torch could use)"


@functools.cache
def instruction(dtype: torch.dtype) -> str | None:
    """What this processor multiplies the type with, as far as torch's library may use it and it pays."""
    slow = _SLOW.get(processor_vendor(), set())
    return next((name for name in _usable(dtype) if name not in slow), None)


def slow_instruction(dtype: torch.dtype) -> str | None:
    """What torch would multiply the type with although fp32 arithmetic is faster; None where there is no such thing."""
    slow = _SLOW.get(processor_vendor(), set())
    return next((name for name in _usable(dtype) if name in slow), None)


def _usable(dtype: torch.dtype) -> list[str]:
    known = _INSTRUCTIONS.get(platform.machine(), {}).get(dtype, {})
    there = processor_flags()
    return [name for name, least in known.items() if name in there and _allowed(least)]


@functools.cache
def processor_flags() -> frozenset[str]:
    """The processor's instruction sets, as Linux names them; empty where it does not say."""
    return frozenset(_told("flags|Features").split())


@functools.cache
def processor_vendor() -> str:
    """Who made an x86 processor, as it says itself ("GenuineIntel", "AuthenticAMD"); empty where it does not."""
    return _told("vendor_id")


def _told(names: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(rf"^(?:{names})\s*:\s*(.*)$", text, re.M)
    return found.group(1) if found else ""


def _allowed(least: str) -> bool:
    limit = next((os.environ[name].upper() for name in _LIMIT_VARIABLES if name in os.environ), "")
    if limit not in _LIMITS or least not in _LIMITS:
        return True
    return _LIMITS.index(limit) >= _LIMITS.index(least)
