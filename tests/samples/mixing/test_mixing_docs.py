"""docs/mixing.md says what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from steel_megatron.cli.inspect_command import add_arguments as inspect_arguments
from steel_megatron.cli.main import COMMANDS
from steel_megatron.cli.mix_command import add_arguments as mix_arguments
from steel_megatron.config import Parser
from steel_megatron.samples.mixing.phases_file import PHASE_KEYS, SOURCE_KEYS

ROOT = Path(__file__).resolve().parents[3]


def test_the_plan_of_the_page_is_what_the_code_prints() -> None:
    tool = ROOT / "tools" / "docs" / "mixture_figure.py"
    assert subprocess.run([sys.executable, str(tool), "--check"], check=False, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("name", ["mixing.md", "mixing.zh-CN.md"])
def test_keys_and_commands_of_the_page(name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert all(f"`{key}`" in page for key in (*PHASE_KEYS, *SOURCE_KEYS))
    calls = re.findall(r"^steel (\S+) (.*)$", page, re.MULTILINE)
    assert {command for command, _ in calls} == {"mix", "inspect", "import-dataset"}
    assert all(command in COMMANDS for command, _ in calls)
    for command, add_arguments in (("mix", mix_arguments), ("inspect", inspect_arguments)):
        parser = Parser(prog=command)
        add_arguments(parser)
        for words in [flags.split() for called, flags in calls if called == command]:
            parser.parse_args(words)  # raises for a flag that is not there
