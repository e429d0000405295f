"""Whole runs on GPUs: the losses of the CPU, with every kernel backend; and of one GPU on two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers.tiny_run import run_config, train
from steel_megatron.ops.backends import BACKENDS, use_kernel_backend

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]
needs_two = pytest.mark.skipif(
    torch.cuda.device_count() < 2, reason="NCCL takes one GPU per process; fewer than 2 here"
)


@pytest.fixture(autouse=True)
def auto_backend():
    yield
    use_kernel_backend("auto", DEVICE)


def losses(folder: Path, processes: int = 1, **knobs: object) -> list[float]:
    folder.mkdir()
    train(run_config(folder, train_iters=6, eval_iters=0, **knobs), processes=processes)
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]


def needs(backend: str) -> None:
    reason = BACKENDS[backend].missing(DEVICE)
    if reason:
        pytest.skip(reason)


@pytest.mark.parametrize("backend", ["torch", "steel", "te", "apex"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 2e-2)])
def test_a_run_has_the_losses_of_the_cpu(tmp_path: Path, backend: str, precision: str, tolerance: float) -> None:
    needs(backend)
    expected = losses(tmp_path / "cpu", device="cpu", precision=precision, kernel_backend="torch")
    found = losses(tmp_path / "gpu", device=DEVICE, precision=precision, kernel_backend=backend)
    assert len(expected) == 6
    assert found == pytest.approx(expected, rel=tolerance)


@needs_two
@pytest.mark.parametrize("layout", ["tensor_model_parallel_size", "pipeline_model_parallel_size", "data parallel"])
def test_two_gpus_have_the_losses_of_one(tmp_path: Path, layout: str) -> None:
    knobs = {} if layout == "data parallel" else {layout: 2}
    one = losses(tmp_path / "one", device=DEVICE, precision="fp32")
    two = losses(tmp_path / "two", processes=2, device=DEVICE, precision="fp32", **knobs)
    assert two == pytest.approx(one, rel=1e-3)
