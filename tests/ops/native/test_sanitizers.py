"""The emulated kernels under sanitizers: minutes, so not in the default suite (``make sanitizers``).

Each runs in a process of its own: AddressSanitizer's library has to be loaded before Python.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.cuda_emulator import build

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent.relative_to(ROOT)
# The race detector follows every byte: it gets one file, in which each kernel runs in five orders.
RUNS = {"address": HERE, "races": HERE / "test_emulated_orders.py"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(build.why_no_sanitizers() is not None, reason=str(build.why_no_sanitizers())),
]


@pytest.mark.parametrize("variant", RUNS)
def test_the_kernel_tests_pass_under(variant):
    """ "address": AddressSanitizer and UBSan. "races": ThreadSanitizer's instrumentation with the emulator's rules."""
    environment = os.environ | {"STEEL_EMULATOR": variant, "ASAN_OPTIONS": "detect_leaks=0"}
    if variant == "address":
        environment["LD_PRELOAD"] = build.preloaded()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "emulated and not slow"]
    done = subprocess.run([*command, str(RUNS[variant])], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    assert " passed" in done.stdout
