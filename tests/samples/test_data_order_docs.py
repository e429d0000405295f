from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", ["docs/data_order.md", "docs/data_order.zh-CN.md"])
def test_the_worked_example_is_true(page: str) -> None:
    failed, attempted = doctest.testfile(str(ROOT / page), module_relative=False, encoding="utf-8")
    assert attempted >= 7
    assert failed == 0


def test_the_figure_is_drawn_from_the_code() -> None:
    tool = ROOT / "tools" / "docs" / "data_order_figure.py"
    assert subprocess.run([sys.executable, str(tool), "--check"], check=False, cwd=ROOT).returncode == 0
