"""The kernel benchmark runs every operation on a small shape, counts bytes as it says, and survives one that fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import kernels
import pytest
import torch
from kernel_cases import CASES, Case, Shape
from kernel_head import MATMULS
from kernel_timing import fastest

from helpers.kernels import needs_cpu_kernels
from steel_megatron.ops.backends import use_kernel_backend


@pytest.fixture
def auto_backend():
    yield
    use_kernel_backend("auto", "cpu")


@needs_cpu_kernels
def test_every_operation_is_timed_and_the_head_against_its_matmuls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], auto_backend: None
) -> None:
    sizes = "--tokens 8 --hidden 64 --ffn 96 --vocab-size 50 --head-vocab-size 70 --rounds 1 --no-compile"
    file = tmp_path / "kernels.json"
    monkeypatch.setattr(sys, "argv", ["kernels.py", "--device", "cpu", *sizes.split(), "--json", str(file)])
    assert kernels.main() == 0
    found = json.loads(file.read_text())
    rows = {row["operation"]: row for row in found["rows"]}
    assert rows["copy"]["of copy"] == 1.0
    assert {"RMSNorm", "SwiGLU, backward", "cross entropy, backward", "gradient norm"} <= rows.keys()
    assert all(row["failed"] == {} and row["GB/s"] > 0 for row in rows.values())
    assert found["head"][0]["name"] == MATMULS
    assert found["head"][0]["against_matmuls"] == 1.0
    assert all(row["seconds"] > 0 and not row["remark"] for row in found["head"])
    printed = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| RMSNorm") for line in printed) == 2


@needs_cpu_kernels
def test_bytes_are_those_of_the_tensors_that_must_move(auto_backend: None) -> None:
    use_kernel_backend("steel", "cpu")
    tokens, hidden, ffn, vocab = 8, 64, 96, 50
    shape = Shape("cpu", tokens, hidden, ffn, vocab, torch.bfloat16)
    with torch.no_grad():
        moved = {case.name: case.moved for cases_of in CASES for case in cases_of(shape)}
    parameters = 8 * (4 * hidden * hidden + 3 * ffn * hidden + hidden)
    activation, wide, logits = 2 * tokens * hidden, 2 * tokens * 2 * ffn, 2 * tokens * vocab
    expected = {
        "copy": 2 * wide,
        "RMSNorm": 2 * activation,
        "RMSNorm, backward": 3 * activation,
        "add + RMSNorm": 4 * activation,
        "add + RMSNorm, backward": 4 * activation,
        "LayerNorm": 2 * activation,
        "add + LayerNorm, backward": 4 * activation,
        "RoPE": 2 * 2 * activation,
        "RoPE, backward": 2 * 3 * activation,
        "GELU": 1 * wide,
        "GELU, backward": 1.5 * wide,
        "SwiGLU": 1.5 * wide,
        "SwiGLU, backward": 2.5 * wide,
        "cross entropy": logits,
        "cross entropy, backward": 2 * logits,
        "AdamW, fp32 master and bf16 weight": (4 * 2 + 4 * 2 + 4 * 2 + 4 + 2) * parameters,
        "AdamW, bf16 moments": (4 * 2 + 2 * 2 + 2 * 2 + 4 + 2) * parameters,
        "gradient norm": 4 * parameters,
    }
    assert {name: moved.get(name) for name in expected} == expected
    # Gradients and ids are read; of the table at least one row is read and written, at most one per token.
    least, row = activation + 8 * tokens, 2 * 4 * hidden
    assert least + row <= moved["embedding's gradient"] <= least + tokens * row


def test_a_contender_that_fails_is_named_and_the_others_are_timed() -> None:
    def broken() -> None:
        raise RuntimeError("no such kernel\nat all")

    seconds, failed = fastest({"steel": broken, "torch": lambda: None}, "cpu", rounds=2)
    assert failed == {"steel": "RuntimeError: no such kernel"}
    row = kernels.figures(Case("x", 100), seconds, failed)
    assert row["against the better"] is None
    assert row["GB/s"] > 0
    assert kernels.made(lambda shape: 1 / 0, Shape("cpu", 1, 1, 1, 1, torch.float32)) == []


def test_figures_compare_with_the_better_of_the_others() -> None:
    row = kernels.figures(Case("x", 2_000_000_000), {"steel": 2.0, "torch": 4.0, "compile": 3.0}, {}) | {
        "of copy": 0.85
    }
    assert row["GB/s"] == 1.0
    assert row["against the better"] == 1.5
    assert kernels.line(row).endswith("| 1.50 × | 1.0 | 85% ✓ |")
