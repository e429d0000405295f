"""What the GPU check reports, and a rehearsal of the whole script without a GPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import gpu_check_report
import pytest

ROOT = Path(__file__).parents[2]


def step_row(step: str, rate: float, mfu: float = 0.5) -> dict[str, object]:
    figures = {"tokens/s": rate, "MFU": mfu, "peak memory, GB": 70.0, "micro_batch_size": 8}
    return {"step": step, "seconds": [1.0], **figures}


def test_the_fastest_16_bit_step_is_held_against_the_aims() -> None:
    rows = [
        step_row("transformers, bf16", 40_000),
        step_row("transformers, Liger-Kernel, bf16", 55_000),
        {"step": "plain", "seconds": [], "remark": "out of memory"},
        step_row("steel_megatron, --kernel-backend torch", 50_000, 0.4),
        step_row("steel_megatron, --kernel-backend steel", 60_000, 0.61),
        step_row("steel_megatron, --kernel-backend steel --fp8-format hybrid", 90_000, 0.9),
        step_row("transformers, bf16, again", 10),
    ]
    lines = gpu_check_report.step_lines("steel_1b", {"rows": rows})
    assert [line[3] for line in lines] == [None, True, True, True]
    assert "60,000 tokens/s" in lines[0][1]
    assert lines[2][1] == "1.50 ×"
    assert "Liger-Kernel" in lines[3][0]
    assert lines[3][1] == "1.09 ×"
    assert gpu_check_report.step_lines("x", {"rows": rows[:3]})[0][1] == "not measured"


def test_a_step_is_held_against_its_prediction() -> None:
    found = {"rows": [step_row("steel_megatron", 10_000) | {"peak memory, GB": 41.0}]}
    said = {"preset": "steel_1b", "card": "h200", "layout": "dp1", "micro_batch_size": 8}
    said |= {"tokens": 1000, "seconds": 0.05, "expected_seconds": 0.09, "peak_bytes": 50e9}
    card = gpu_check_report.card_of("NVIDIA H200, 580.1, 143771 MiB")
    lines = gpu_check_report.prediction_lines("steel_1b", found, card, [said, said | {"micro_batch_size": 4}])
    assert [(line[1], line[3]) for line in lines] == [
        ("100.0 ms (at the card's roofs 50.0)", True),
        ("41.0 GB", False),
    ]
    assert gpu_check_report.prediction_lines("steel_1b", found, None, [said]) == []


def test_a_run_that_does_not_repeat_is_not_passed() -> None:
    found = {"differences": {"again": {}, "stopped and continued": {"loss": 0.5}}}
    assert [line[3] for line in gpu_check_report.resume_lines("nccl", found)] == [True, False]


def test_the_predictions_that_are_shipped_are_of_the_rows_that_the_check_times() -> None:
    known = json.loads(gpu_check_report.PREDICTIONS.read_text())["rows"]
    said = {(row["preset"], row["card"], row["micro_batch_size"]) for row in known if row["layout"] == "dp1"}
    script = (ROOT / "benchmarks" / "gpu_check.sh").read_text()
    presets = re.findall(r"^  presets=\((.*_1.*)\)$", script, re.M)[0].split()
    assert {(preset, card) for preset in presets for card in gpu_check_report.CARDS.values()} <= {
        row[:2] for row in said
    }


def test_kernels_below_the_aim_are_named() -> None:
    def row(name: str, share: float, ratio: float = 2.0, **more: object) -> dict[str, object]:
        seconds = {"steel": 1.0}
        return {
            "operation": name,
            "of copy": share,
            "against the better": ratio,
            "seconds": seconds,
            "failed": {},
        } | more

    found = {
        "rows": [
            row("copy", 1.0, seconds={"torch": 1.0}),
            row("RMSNorm", 0.9),
            row("RoPE", 0.7, 0.8),
            row("AdamW", 0.0, seconds={}, failed={"steel": "RuntimeError"}),
        ],
        "head": [
            {"name": "the three matmuls", "seconds": 1.0, "against_matmuls": 1.0, "extra_bytes": 5e9},
            {"name": "steel, in chunks", "seconds": 1.1, "against_matmuls": 1.1, "extra_bytes": 2e9},
        ],
    }
    lines = gpu_check_report.kernel_lines(found)
    assert lines[0][1:] == ("1 of 3; RoPE 70%; AdamW failed", "all", False)
    assert lines[1][1:] == ("RoPE", "none", False)
    assert [line[3] for line in lines[2:]] == [True, False]


def test_parts_and_tables_come_from_the_logs(tmp_path: Path) -> None:
    (tmp_path / "tests.log").write_text("....\n4 passed, 2 skipped in 1.2s\n")
    lines = gpu_check_report.part_lines(
        {"build": "left out: no g++", "tests": "ok, 3 s", "x": "failed with 1"}, tmp_path
    )
    assert [line[3] for line in lines] == [None, True, False]
    assert lines[1][1] == "ok, 3 s; 4 passed, 2 skipped in 1.2s"
    (tmp_path / "x.log").write_text("Warning: noise\n`python x`; torch\n\n\n\n| a |\n| - |\n")
    assert gpu_check_report.tables_of(tmp_path / "x.log") == "`python x`; torch\n\n| a |\n| - |"


@pytest.mark.slow
def test_the_script_runs_every_part_without_a_gpu(tmp_path: Path) -> None:
    result = subprocess.run(
        [str(ROOT / "benchmarks" / "gpu_check.sh"), str(tmp_path)],
        env={**os.environ, "DEVICE": "cpu", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    whole = json.loads((tmp_path / "gpu_check.json").read_text())
    assert all(state.startswith(("ok", "left out")) for state in whole["parts"].values())
    assert {"tests", "selftest", "kernels", "resume", "nccl", "train_step_tiny"} <= whole["parts"].keys()
    assert not any(apart for name in ("resume", "nccl") for apart in whole[name]["differences"].values())
    assert whole["train_step_tiny"]["rows"]
    assert "| tiny: against transformers |" in (tmp_path / "gpu_check.md").read_text()
