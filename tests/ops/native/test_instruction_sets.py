"""STEEL_CPU_CAPABILITY: every set up to the processor's can be chosen, none above it, and all give the same."""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys

import pytest

from helpers.kernels import needs_cpu_kernels
from steel_megatron.cli.main import main
from steel_megatron.config.instruction_set import INSTRUCTION_SET_VARIABLE, INSTRUCTION_SETS

pytestmark = needs_cpu_kernels

LOADED = """
import hashlib, json
from steel_megatron import _minhash, _ops
texts = ["", "one two", "The quick brown fox jumps over the lazy dog. " * 60, "\u4e2d\u6587\u5206\u8bcd " * 999]
digest = hashlib.sha256(_minhash.signatures(texts)[0].tobytes()).hexdigest()
sets = [name for name in ("base", "avx2", "avx512", "avx512_bf16") if hasattr(_ops, name)]
print(json.dumps([_ops.instruction_set, _minhash.instruction_set, sets, digest]))
"""
# Of signatures that are on users' disks: they never change.
SIGNATURES = "19d667034d3a3c46bc6969448e53fb665bd1e726fe7a474b4522c306bfe3fc05"


def load(capability: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, INSTRUCTION_SET_VARIABLE: capability}
    return subprocess.run([sys.executable, "-c", LOADED], env=environment, capture_output=True, text=True, check=False)


def test_a_cap_is_kept_and_never_raises():
    chosen, own, sets, digest = json.loads(load("").stdout)
    widest = sets[-1]
    assert chosen == own in sets[-2:]  # Intel's dot products are left out unless they are asked for
    assert digest == SIGNATURES
    for place, name in enumerate(INSTRUCTION_SETS):
        chosen = INSTRUCTION_SETS[min(place, INSTRUCTION_SETS.index(widest))]
        sets = list(INSTRUCTION_SETS[: INSTRUCTION_SETS.index(chosen) + 1])
        assert json.loads(load(name).stdout) == [chosen, chosen, sets, SIGNATURES]


def test_an_unknown_name_is_refused(capsys, monkeypatch):
    done = load("avx3")
    assert done.returncode != 0
    assert "STEEL_CPU_CAPABILITY=avx3" in done.stderr
    assert "it is base, avx2, avx512 or avx512_bf16" in done.stderr
    monkeypatch.setenv(INSTRUCTION_SET_VARIABLE, "avx3")
    assert main(["doctor"]) == 2
    assert "it is base, avx2, avx512 or avx512_bf16" in capsys.readouterr().err


@pytest.mark.skipif(platform.machine() != "x86_64", reason="variants are compiled for x86-64")
@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump was not found")
@pytest.mark.parametrize("module", ["_ops", "_minhash"])
def test_wide_instructions_are_in_wide_variants_only(module):
    """Of a function that several files compile, a template of the standard library say, the linker keeps one copy."""
    found = importlib.import_module(f"steel_megatron.{module}").__file__
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", found], capture_output=True, text=True, check=True)
    wide: dict[str, int] = {}
    function = ""
    for line in listing.stdout.splitlines():
        if line.endswith(">:"):
            function = line.partition("<")[2]
        elif re.search(r"\tv[a-z0-9]+ |%[yz]mm", line):
            wide[function] = wide.get(function, 0) + 1
    assert any("avx512" in name for name in wide)
    assert [name for name in wide if "avx" not in name] == []


def test_doctor_tells_the_cap(capsys, monkeypatch):
    monkeypatch.setenv(INSTRUCTION_SET_VARIABLE, "base")
    assert main(["doctor"]) in (0, 1)
    assert f"({INSTRUCTION_SET_VARIABLE}=base)" in capsys.readouterr().out
