"""What a command loads before it answers: nothing that its answer does not need. Times: benchmarks/cli_start.py."""

from __future__ import annotations

import json
import subprocess
import sys

from steel_megatron.cli.main import COMMANDS

DATA = {"pyarrow", "transformers", "tokenizers", "tiktoken", "orjson", "zstandard", "safetensors", "ray", "matplotlib"}
TORCH = {"torch", "numpy", "sympy", "triton"}
HELP_WITHOUT = {"torch", "transformers", "pyarrow", "ray", "matplotlib", "safetensors", "sentencepiece", "scipy"}
# Parts of torch that it loads by itself only when they are used; each takes as long as a command may.
LATE = {"torch._dynamo", "torch._inductor", "torch.distributed.checkpoint", "sympy", "triton"}

PROGRAM = """
import contextlib, io, json, sys
from steel_megatron.cli.main import main
loaded = {}
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        assert main(words) == 0, words
    loaded[" ".join(words)] = sorted(sys.modules)
print(json.dumps(loaded))
"""


def loaded_by(*commands: list[str]) -> dict[str, set[str]]:
    """Command → the modules that a process of its own has when it has answered this one and those before it."""
    program = [sys.executable, "-c", PROGRAM, json.dumps(commands)]
    result = subprocess.run(program, capture_output=True, text=True, check=True)
    return {command: set(modules) for command, modules in json.loads(result.stdout).items()}


def test_help_and_version_load_no_library_but_yaml():
    for command, modules in loaded_by(["--help"], ["--version"]).items():
        assert modules & (DATA | TORCH) == set(), command
        assert "steel_megatron.cli.main" in modules


def test_help_of_a_command_loads_no_torch():
    commands = [[name, "--help"] for name in COMMANDS] + [["mix", "plan", "--help"], ["mix", "add", "--help"]]
    for command, modules in loaded_by(*commands).items():
        assert modules & HELP_WITHOUT == set(), command


def test_plan_loads_torch_and_no_more():
    plans = [["plan", "--list"], ["plan", "--preset", "steel_1b", "--pipeline-model-parallel-size", "2"]]
    for command, modules in loaded_by(*plans).items():
        assert "torch" in modules, "it counts the model that the code builds"
        assert modules & (DATA | LATE) == set(), command
