"""Freed memory stays with the process: a second step of the same size touches no fresh pages."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Blocks of 48 MB: from 32 MB on glibc maps each anew whatever came before; smaller ones stay, or not, as the heap lies.
PROGRAM = """
import resource
import torch
from steel_megatron.training.startup.host_memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    kept = [torch.ones(12 << 20) for _ in range(4)]
    before = faults()
    del kept
    kept = [torch.ones(12 << 20) for _ in range(4)]
    return faults() - before

step()
default = step()
assert keep_freed_memory()
step()
print(default, step())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_pages_are_used_again():
    output = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stdout
    default, kept = map(int, output.split())
    assert kept < default / 10
