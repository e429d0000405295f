"""The emulator catches planted faults, and lets pass the same kernels without them: faults.cu."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.cuda_emulator import build
from helpers.cuda_emulator.rewrite import rewrite

SOURCE = Path(__file__).with_name("faults.cu")
THREADS, BLOCKS = 96, 3
COUNT = THREADS * BLOCKS
SEEDS = range(5)
NAN = b"\xff" * 4
pytestmark = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))

WRONG = "a wrong result"
# How each fault is caught where alignment and indices are checked, and where races are.
CAUGHT = {
    "missing_barrier": (WRONG, "a race: a write, then a read|a race: a read, then a write"),
    "short_tail": (WRONG, WRONG),
    "ended_lane": ("a mask names a lane that has ended", "a mask names a lane that has ended"),
    "stale_shared": (WRONG, WRONG),
    "different_shuffles": ("lanes of a mask meet at different calls", "lanes of a mask meet at different calls"),
    "foreign_lane": ("reads a lane that is not in its mask", "reads a lane that is not in its mask"),
    "unaligned": ("an address that is not aligned", None),
    "outside_shared": ("an index outside its array", None),
    "divergent_barrier": ("different barriers", "different barriers"),
    "launch_bounds": ("more threads than __launch_bounds__", "more threads than __launch_bounds__"),
    "racing_blocks": (None, "a race: .* of block"),
}


@functools.cache
def library(variant: str) -> ctypes.CDLL:
    found = ctypes.CDLL(str(build.build(variant, [SOURCE])))
    found.emulator_failure.restype = ctypes.c_char_p
    return found


def run(variant: str, name: str, fault: bool, seed: int) -> tuple[list[bytes], str]:
    """The bits of y, and what the emulator says of the launch."""
    emulator = library(variant)
    # 16-byte accesses begin at multiples of 16: numbers of four times the size hold them.
    x = (ctypes.c_longdouble * COUNT)()
    values = ctypes.cast(x, ctypes.POINTER(ctypes.c_float))
    for i in range(4 * COUNT):
        values[i] = float(i % 13)
    y = (ctypes.c_longdouble * COUNT)()
    ctypes.memset(y, 0xFF, ctypes.sizeof(y))
    emulator.emulator_seed(ctypes.c_ulong(seed))
    example = getattr(emulator, f"{name}_example")
    count, blocks = ctypes.c_int64(COUNT), ctypes.c_int64(BLOCKS)
    status = example(ctypes.c_int64(fault), x, y, count, blocks)
    said = emulator.emulator_failure().decode()
    assert (status != 0) == bool(said)
    bits = bytes(y)
    return [bits[i : i + 4] for i in range(0, len(bits), 4)], said


@pytest.mark.parametrize(("variant", "place"), [("checked", 0), ("races", 1)])
@pytest.mark.parametrize("name", CAUGHT)
def test_the_fault_is_caught(variant, place, name):
    expected, said = run(variant, name, False, 0)
    assert said == ""
    assert NAN not in expected[:COUNT], "the example without the fault writes all of y"
    for seed in SEEDS:
        assert run(variant, name, False, seed) == (expected, "")
    how = CAUGHT[name][place]
    if how is None:
        return
    faulty = [run(variant, name, True, seed) for seed in SEEDS]
    if how == WRONG:
        assert any(bits != expected for bits, _ in faulty)
    else:
        for _, message in faulty:
            assert re.search(how, message), message
            assert re.search(r"\.cuh?:\d+, block", message) or "a race" in message, "it names the line"


def test_a_barrier_that_is_missing_changes_results_with_the_order_of_threads():
    assert len({tuple(run("checked", "missing_barrier", True, seed)[0]) for seed in SEEDS}) > 1


@pytest.mark.parametrize(("blocks", "status"), [(0, 9), (2**31, 9)])
def test_a_grid_that_no_device_has_is_an_error_code(blocks, status):
    x = (ctypes.c_float * 4)()
    example = library("checked").short_tail_example
    assert example(ctypes.c_int64(0), x, x, ctypes.c_int64(4), ctypes.c_int64(blocks)) == status


PROGRAM = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
x, y = (ctypes.c_void_p(libc.malloc(ctypes.c_size_t(4 * 288))) for _ in range(2))
ctypes.memset(x, 0, 4 * 288)
sys.exit(library.outside_global_example(ctypes.c_int64(int(sys.argv[2])), x, y, ctypes.c_int64(288), ctypes.c_int64(3)))
"""


@pytest.mark.skipif(build.why_no_sanitizers() is not None, reason=str(build.why_no_sanitizers()))
@pytest.mark.parametrize("fault", [False, True])
def test_an_access_outside_a_tensor_is_caught_by_address_sanitizer(fault):
    path = build.build("address", [SOURCE])
    environment = os.environ | {"LD_PRELOAD": build.preloaded(), "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, "-c", PROGRAM, str(path), str(int(fault))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == fault, done.stderr
    assert ("heap-buffer-overflow" in done.stderr) == fault
    assert ("faults.cu" in done.stderr) == fault


def test_lines_stay_and_unknown_shared_memory_is_refused():
    source = SOURCE.read_text()
    assert rewrite(source, "x.cu").count("\n") == source.count("\n") + 1
    with pytest.raises(ValueError, match=r"x\.cu: shared memory is known as an array"):
        rewrite("__global__ void f() { __shared__ float one; }", "x.cu")
    launched = rewrite("f<T, g<3>><<<dim3(a, b), 32>>>(x, h(y));", "x.cu")
    assert launched.endswith('emulator::Launch("f", dim3(a, b), 32)(f<T, g<3>>, x, h(y));')
