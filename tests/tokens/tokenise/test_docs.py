"""docs/tokenizers.md says what the code does."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from steel_megatron.cli.tokenize_command import add_arguments
from steel_megatron.tokenizer import TOKENIZER_TYPES
from steel_megatron.tokens.tokenise.records import REASONS

DOCS = Path(__file__).parents[3] / "docs"


def rows(name: str, title: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    section = (DOCS / name).read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_reasons_are_those_of_the_code():
    assert {cells[0].strip("`"): cells[1].replace("`", "") for cells in rows("tokenizers.md", "Rejects")} == REASONS
    assert [cells[0].strip("`") for cells in rows("tokenizers.zh-CN.md", "被拒绝的行")] == list(REASONS)


@pytest.mark.parametrize(("name", "title"), [("tokenizers.md", "Tokenising"), ("tokenizers.zh-CN.md", "切分文本")])
def test_the_flags_are_those_of_the_command(name, title):
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    flags = [flag for action in parser._actions for flag in action.option_strings]
    assert sorted(flag for cells in rows(name, title) for flag in re.findall(r"--[\w-]+", cells[0])) == sorted(flags)


def test_the_kinds_are_those_of_the_code():
    assert {cells[0].strip("`") for cells in rows("tokenizers.md", "Kinds")} == set(TOKENIZER_TYPES)
