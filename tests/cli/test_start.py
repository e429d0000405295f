"""A command loads what it uses: ``--help`` none of the large libraries, ``plan`` torch alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from steel_megatron.cli.main import COMMANDS

PROGRAM = """
import contextlib, io, json, sys
from steel_megatron.cli.main import main
with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
    main(sys.argv[1:])
assert said.getvalue()
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
print(json.dumps(sorted(name for name in sys.modules if name.startswith("torch.") and name.count(".") == 1)))
"""
LARGE = {"torch", "transformers", "sentencepiece", "pyarrow", "ray", "tensorboard", "matplotlib", "scipy"}
SMALLER = {"numpy", "tokenizers"}
WITH_ARRAYS = {"train-tokenizer", "tokenize", "import-dataset", "merge", "inspect", "dedup", "generate"}


def loaded(*words: str) -> tuple[set[str], set[str]]:
    """(Top-level modules, modules of torch) after a command, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=True)
    modules, of_torch = done.stdout.splitlines()
    return set(json.loads(modules)), set(json.loads(of_torch))


def test_help_loads_the_standard_library_alone() -> None:
    modules, _ = loaded("--help")
    assert "steel_megatron" in modules
    assert not modules & {*LARGE, *SMALLER}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_loads_no_large_library(command: str) -> None:
    modules, _ = loaded(command, "--help")
    assert not modules & LARGE
    assert command in WITH_ARRAYS or not modules & SMALLER


def test_the_help_of_both_actions_of_mix() -> None:
    for action in ("plan", "add"):
        assert not loaded("mix", action, "--help")[0] & {*LARGE, *SMALLER}


def test_a_plan_loads_torch_without_its_compilers() -> None:
    modules, of_torch = loaded("plan", "--preset", "steel_1b")
    assert modules & LARGE == {"torch"}
    assert "triton" not in modules
    assert not of_torch & {"torch._dynamo", "torch._inductor", "torch.onnx"}
