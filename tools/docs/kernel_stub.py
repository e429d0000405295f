"""Writes steel_megatron/_ops.pyi, the types of the CPU kernels, from the list that the built module tells.

Usage: python tools/docs/kernel_stub.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from steel_megatron import _ops
from steel_megatron.ops.native.signatures import Kind, Signature, parse

STUB = Path(__file__).resolve().parents[2] / "steel_megatron" / "_ops.pyi"
LINE = 120
HEAD = '''# Written by tools/docs/kernel_stub.py from csrc/ops/declarations.h, which says what the kernels compute.
from types import ModuleType

class Kernels(ModuleType):
    """The kernels for an instruction set; pointers are addresses, 0 is no tensor."""

'''
TAIL = """
best: Kernels
instruction_set: str
SIGNATURES: str
CHUNK: int
"""


def stub() -> str:
    """The file as it should be."""
    return HEAD + "".join(map(_method, parse(_ops.SIGNATURES).values())) + TAIL


def _method(signature: Signature) -> str:
    parameters = [f"{name}: {'float' if kind is Kind.DOUBLE else 'int'}" for kind, name in signature.parameters]
    parameters.append("threads: int")
    head, tail = f"    def {signature.name}(", ") -> None: ..."
    text = head + ", ".join(parameters) + tail
    if len(text) > LINE:  # as ruff breaks it
        text = f"{head}\n        {', '.join(parameters)}\n    {tail}"
    if max(map(len, text.split("\n"))) > LINE:
        text = head + "".join(f"\n        {parameter}," for parameter in parameters) + f"\n    {tail}"
    return f"    @staticmethod\n{text}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file is out of date")
    if parser.parse_args().check:
        return int(STUB.read_text(encoding="utf-8") != stub())
    STUB.write_text(stub(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
