"""Which 16-bit products a CPU is trusted with, by its instructions, its maker, oneDNN's limit and the user's word."""

from __future__ import annotations

import itertools

import pytest
import torch

from steel_megatron.config import ConfigError
from steel_megatron.ops import cpu_products


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cpu_products.VARIABLE, "fp32")


def test_what_is_multiplied_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(2, 2)
    assert not cpu_products.in_fp32(x)
    assert not cpu_products.in_fp32(x.to("meta", torch.bfloat16))
    assert cpu_products.in_fp32(x.bfloat16())
    monkeypatch.setenv(cpu_products.VARIABLE, "torch")
    assert not cpu_products.in_fp32(x.bfloat16())
    monkeypatch.setenv(cpu_products.VARIABLE, "both")
    with pytest.raises(ConfigError, match="STEEL_CPU_PRODUCTS=both"):
        cpu_products.in_fp32(x.bfloat16())


AVX512 = {"avx2", "avx512f"}
INTEL, AMD = "GenuineIntel", "AuthenticAMD"
WITHOUT_AMX = AVX512 | {"avx512_bf16", "avx512_fp16"}
# Architecture, maker, instructions, oneDNN's limit, what torch multiplies.
MACHINES = {
    "AVX2": ("x86_64", AMD, {"avx2"}, "", set()),
    "AVX-512": ("x86_64", INTEL, AVX512, "", set()),
    "Zen 4": ("x86_64", AMD, AVX512 | {"avx512_bf16"}, "", {"bf16"}),
    "Cooper Lake": ("x86_64", INTEL, AVX512 | {"avx512_bf16"}, "", set()),
    "Sapphire Rapids": ("x86_64", INTEL, WITHOUT_AMX | {"amx_bf16"}, "", {"bf16", "fp16"}),
    "Sapphire Rapids whose AMX is hidden": ("x86_64", INTEL, WITHOUT_AMX, "", {"fp16"}),
    "without AMX by a limit": ("x86_64", INTEL, WITHOUT_AMX | {"amx_bf16"}, "AVX512_CORE_FP16", {"fp16"}),
    "limited to AVX2": ("x86_64", INTEL, WITHOUT_AMX | {"amx_bf16"}, "AVX2", set()),
    "limited to bf16": ("x86_64", AMD, WITHOUT_AMX, "avx512_core_bf16", {"bf16"}),
    "a limit of later": ("x86_64", AMD, AVX512 | {"avx512_bf16"}, "AVX10_2_512", {"bf16"}),
    "Graviton 2": ("aarch64", "", {"asimd", "asimdhp"}, "", set()),
    "Graviton 3": ("aarch64", "", {"asimd", "asimdhp", "bf16"}, "", {"bf16"}),
    "another": ("riscv64", "", set(), "", set()),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_rule_by_instructions(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    kind, maker, flags, limit, by_torch = MACHINES[machine]
    monkeypatch.setenv(cpu_products.VARIABLE, "auto")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    monkeypatch.setattr(cpu_products, "processor_flags", lambda: frozenset(flags))
    monkeypatch.setattr(cpu_products, "processor_vendor", lambda: maker)
    monkeypatch.setattr(cpu_products.platform, "machine", lambda: kind)
    cpu_products.instruction.cache_clear()
    try:
        found = {name for dtype, name in cpu_products.SIXTEEN_BITS.items() if not cpu_products.cpu_in_fp32(dtype)}
        report = cpu_products.report()
    finally:
        cpu_products.instruction.cache_clear()
    assert found == by_torch
    for name, said in itertools.product(("bf16", "fp16"), (report,)):
        assert said[f"{name} matmuls on the CPU"].startswith("torch" if name in by_torch else "fp32 arithmetic")
    if "avx512_bf16" in flags and maker == INTEL and "bf16" not in by_torch and limit != "AVX2":
        assert report["bf16 matmuls on the CPU"] == "fp32 arithmetic (faster here than avx512_bf16)"
