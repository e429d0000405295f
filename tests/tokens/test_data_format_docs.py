"""docs/data_format.md says what the code does."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

from steel_megatron.tokens.tokenise.records import REASONS

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["docs/data_format.md", "docs/data_format.zh-CN.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_example_is_true(page: str) -> None:
    failed, attempted = doctest.testfile(str(ROOT / page), module_relative=False, encoding="utf-8")
    assert attempted >= 8
    assert failed == 0


@pytest.mark.parametrize("page", PAGES)
def test_every_reason_is_listed(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [reason for reason in REASONS if f"| `{reason}` |" not in text] == []


def test_the_figure_is_drawn_from_the_code() -> None:
    tool = ROOT / "tools" / "docs" / "data_format_figure.py"
    assert subprocess.run([sys.executable, str(tool), "--check"], check=False, cwd=ROOT).returncode == 0
