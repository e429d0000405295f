"""Processors that are not this one: a C++ compiler and an emulator for each, and the C++ parts running there."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"
FLAGS = ["-std=c++17", "-O3", "-Wall", "-Wextra", "-Werror", f"-I{CSRC}", f"-I{CSRC / 'ops'}"]
KERNEL_FLAGS = ["-fopenmp", "-fno-math-errno", "-fno-trapping-math"]


@dataclass(frozen=True)
class Machine:
    """``instruction_set``: what the parts must choose there."""

    name: str
    compiler: str
    emulator: tuple[str, ...]
    instruction_set: str

    def missing(self) -> str:
        """What is not installed; empty if all is."""
        needed = [program for program in (self.compiler, self.emulator[0]) if shutil.which(program) is None]
        return f"{' and '.join(needed)} not found" if needed else ""


AARCH64 = Machine("aarch64", "aarch64-linux-gnu-g++", ("qemu-aarch64",), "base")
# An instruction that these have not stops the program.
NEHALEM = Machine("nehalem", "x86_64-linux-gnu-g++", ("qemu-x86_64", "-cpu", "Nehalem"), "base")
HASWELL = Machine("haswell", "x86_64-linux-gnu-g++", ("qemu-x86_64", "-cpu", "Haswell"), "avx2")


def compile_driver(compiler: str, folder: Path) -> Path:
    """All C++ parts but their Python bindings, and driver.cpp, in one static program."""
    # A module that takes a source of another in includes it; here it is one program, which has it already.
    taken_in = re.compile(r'^#include ".*\.cpp"', re.MULTILINE)
    sources = [
        path
        for path in sorted(CSRC.rglob("*.cpp"))
        if path.name != "binding.cpp" and not taken_in.search(path.read_text(encoding="utf-8"))
    ]

    def make(source: Path) -> Path:
        made = folder / f"{source.parent.name}_{source.stem}.o"
        extra = KERNEL_FLAGS if source.is_relative_to(CSRC / "ops") else []
        subprocess.run([compiler, *FLAGS, *extra, f"-I{source.parent}", "-c", source, "-o", made], check=True)
        return made

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        objects = list(pool.map(make, [*sources, ROOT / "tests" / "other_processors" / "driver.cpp"]))
    program = folder / "driver"
    subprocess.run([compiler, "-static", "-fopenmp", *objects, "-o", program], check=True)
    return program


def run(machine: Machine, program: Path, calls: list[list[bytes]]) -> list[bytes]:
    """The answers to calls, after the name of the chosen instruction set."""
    tables = character_tables()
    stream = b"".join(struct.pack("<q", len(item)) + item for call in [tables, *calls] for item in call)
    done = subprocess.run([*machine.emulator, program], input=stream, capture_output=True, check=False)
    assert done.returncode == 0, f"{machine.name}: status {done.returncode}: {done.stderr.decode()}"
    answers, at = [], 0
    while at < len(done.stdout):
        (size,) = struct.unpack_from("<q", done.stdout, at)
        answers.append(done.stdout[at + 8 : at + 8 + size])
        at += 8 + size
    assert answers[0].decode() == machine.instruction_set
    return answers[1:]


def character_tables() -> list[bytes]:
    """Kinds and lower-case letters of all code points, as csrc/text/binding.cpp asks the interpreter for them."""
    kinds, lower = np.zeros(0x110000, np.uint8), np.arange(0x110000, dtype=np.uint32)
    for code in range(sys.maxunicode + 1):
        c = chr(code)
        word = c.isalnum()
        kinds[code] = word | c.isspace() << 1 | c.isdecimal() << 5 | (word or c == "_") << 6
        small = c.lower()
        lower[code] = ord(small[0]) if small else code
    return [kinds.tobytes(), lower.tobytes()]
