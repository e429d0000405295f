"""What the trace predicts for the reference job, and what the command line refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.fake_cuda_process import ROOT, needs_fake_cuda, run_python

pytestmark = needs_fake_cuda

SCRIPT = str(ROOT / "benchmarks" / "gpu_trace.py")
RECIPE = ["--config", str(ROOT / "examples" / "pretrain_1b" / "steel_1b.yaml")]
KEYS = {"card", "layout", "seconds", "mfu_full", "mfu_causal", "share_of_roof"}
KEYS |= {f"expected_{name}" for name in ("seconds", "mfu_full", "mfu_causal", "share_of_roof")}
KEYS |= {"traffic_bytes", "traffic_minimum_bytes", "peak_bytes"}


def trace(folder: Path, *flags: str) -> dict[str, Any]:
    """The figures of a run."""
    file = folder / "figures.json"
    run_python(SCRIPT, *flags, "--json", str(file))
    figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return figures


def test_the_recipe_moves_little_more_than_the_fused_minimum(tmp_path: Path) -> None:
    found = trace(tmp_path, *RECIPE, "--num-layers", "2", "--layout", "dp8", "--card", "a100-80g")
    assert found.keys() >= KEYS
    assert (found["card"], found["layout"], found["devices"]) == ("a100-80g", "dp8", 8)
    assert found["traffic_minimum_bytes"] <= found["traffic_bytes"] <= 1.15 * found["traffic_minimum_bytes"]
    assert found["mfu_full"] > found["mfu_causal"]
    assert found["share_of_roof"] == pytest.approx(found["mfu_causal"] * 312 / 271)
    # Attention alone is priced in two ways, and its products at the roof are the faster one.
    kinds = {name: (kind["seconds"], kind["expected_seconds"]) for name, kind in found["kinds"].items()}
    differ = {name for name, (roof, expected) in kinds.items() if roof != pytest.approx(expected)}
    assert differ == {"micro-batch: attention"}
    roof, expected = kinds["micro-batch: attention"]
    assert expected - roof > 0
    assert found["expected_seconds"] - found["seconds"] == pytest.approx(8 * (expected - roof), rel=1e-3)
    assert found["expected_mfu_causal"] < found["mfu_causal"] <= found["share_of_roof"] <= 1
    assert 0 < found["peak_bytes"] < 80 << 30


def test_sequence_parallel_copies_nothing_around_its_messages(tmp_path: Path) -> None:
    shape = ("--num-layers", "1", "--seq-length", "1024", "--micro-batch-size", "2", "--global-batch-size", "32")
    found = trace(tmp_path, *RECIPE, *shape, "--layout", "tp4,sp,dp2")
    assert found["traffic_bytes"] <= 1.15 * found["traffic_minimum_bytes"]
    assert "micro-batch: linear layers" not in found["kinds"]


def test_8_bit_weight_gradients_add_to_the_buffer_inside_the_matmul(tmp_path: Path) -> None:
    shape = ("--num-layers", "1", "--layout", "dp8", "--card", "h100", "--seq-length", "1024")
    found = trace(tmp_path, *RECIPE, *shape, "--fp8-format", "hybrid")
    layers = found["kinds"]["micro-batch: linear layers"]
    assert 0 < layers["minimum"] <= layers["bytes"] <= 1.01 * layers["minimum"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("preset", ["steel_1b", "tinyllama_1.1b", "qwen3_0.6b", "llama3.2_1b"])
def test_whole_models_on_eight_cards(tmp_path: Path, preset: str) -> None:
    for card in ("a100-80g", "h100"):
        found = trace(tmp_path, "--preset", preset, "--seq-length", "2048", "--card", card)
        assert found["traffic_bytes"] <= 1.15 * found["traffic_minimum_bytes"]
        aim = {"a100-80g": 0.65, "h100": 0.58 if preset == "qwen3_0.6b" else 0.62}[card]  # docs/gpu.md has the reason
        assert found["mfu_causal"] >= aim


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--card", "a100"], ["error: --card a100", "did you mean a100-40g or a100-80g?"]),
        (["--layout", "tp3,dp2"], ["error: ", "tensor"]),
    ],
    ids=["card", "layout"],
)
def test_what_cannot_be_is_refused_in_words(flags: list[str], told: list[str]) -> None:
    done = run_python(SCRIPT, *flags, check=False)
    assert done.returncode == 2
    assert all(words in done.stderr for words in told), done.stderr
    assert "Traceback" not in done.stderr
