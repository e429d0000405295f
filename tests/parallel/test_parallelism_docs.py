"""docs/parallelism.md and its twin name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def named_tests(page: str) -> list[tuple[str, str]]:
    return NAMED.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", ["parallelism.md", "parallelism.zh-CN.md"])
def test_each_trap_has_a_test(page):
    rows = [line for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines() if "`tests/" in line]
    assert sum(line.startswith("|") for line in rows) == 15
    for path, name in named_tests(page):
        assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"


def test_both_pages_name_the_same_tests():
    assert named_tests("parallelism.md") == named_tests("parallelism.zh-CN.md")
