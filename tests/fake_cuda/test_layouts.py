"""The trainer on the fake CUDA device, as every rank of many layouts; what is checked: tools/fake_cuda/suite.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.fake_cuda_process import needs_fake_cuda, run_python

pytestmark = needs_fake_cuda


def outcomes(folder: Path, *flags: str) -> dict[str, dict[str, Any]]:
    """What became of each case, by name."""
    file = folder / "outcomes.json"
    run_python("-m", "fake_cuda.suite", "--json", str(file), *flags, check=False)
    return {outcome["name"]: outcome for outcome in json.loads(file.read_text(encoding="utf-8"))}


@pytest.mark.timeout(1800)
def test_a_choice_of_cases_that_covers_every_layout_and_way(tmp_path: Path) -> None:
    found = outcomes(tmp_path)
    assert {name: outcome["errors"] for name, outcome in found.items() if outcome["errors"]} == {}
    parts = [name.split("/") for name in found]
    assert len({layout for layout, _, _ in parts}) >= 12
    assert {way for _, way, _ in parts} >= {
        "bf16",
        "fp16",
        "packed",
        "fp8",
        "full",
        "selective",
        "gpt2",
        "deterministic",
        "graph",
    }
    assert {kernels for _, _, kernels in parts} == {"steel", "compiled", "torch"}
    assert all(outcome["operations"] > 300 * outcome["ranks"] for outcome in found.values())
    assert all(outcome["messages"] > 0 for outcome in found.values() if outcome["ranks"] > 1)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_layout_in_every_way_with_all_kernels(tmp_path: Path) -> None:
    found = outcomes(tmp_path, "--all")
    assert {name: outcome["errors"] for name, outcome in found.items() if outcome["errors"]} == {}
    assert len(found) >= 12 * 9 * 3
