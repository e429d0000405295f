"""What the fake device counts, against the model's formulas and against steps that are really computed on a CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from helpers.fake_cuda_process import ROOT, needs_fake_cuda, run_python
from helpers.kernels import set_backend
from helpers.processes import run_processes
from helpers.traced_steps import PROFILED, SHAPE, config_of, dataset, run_on_cpu
from steel_megatron.model.flops import model_flops
from steel_megatron.ops.cpu_products import VARIABLE
from steel_megatron.parallel.grid import Grid
from steel_megatron.plan.memory import estimate_memory

pytestmark = needs_fake_cuda

TORCH = {"kernel_backend": "torch", "attention_backend": "sdpa"}
OURS = {"kernel_backend": "steel"}
PARALLEL: dict[str, dict[str, Any]] = {
    "dp2": {},
    "tp2, sequence parallel": {"tensor_model_parallel_size": 2, "sequence_parallel": True},
    "pp2": {"pipeline_model_parallel_size": 2, "global_batch_size": 4},
}
RUNS = [(TORCH, 1), (OURS, 1), *((knobs, 2) for knobs in PARALLEL.values())]


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """Facts of every rank of every run, on the fake device."""
    program = str(ROOT / "tests/helpers/fake_cuda_facts.py")
    printed = run_python(program, json.dumps(RUNS), str(tmp_path_factory.mktemp("data"))).stdout
    facts: list[list[dict[str, Any]]] = json.loads(printed.splitlines()[-1])
    return facts


def on_cpu(folder: str, knobs: dict[str, Any]) -> dict[str, Any]:
    """Facts of this process's rank of a run that is computed."""
    config = config_of(knobs, "cpu").replace(data_path=[dataset(Path(folder))])
    distributed = torch.distributed.is_initialized()
    grid = Grid.create(config.parallel, "cpu") if distributed else Grid.single("cpu")
    return run_on_cpu(config, grid)


def rank_on_cpu(folders: list[str], knobs: dict[str, Any]) -> dict[str, Any]:
    return on_cpu(folders[torch.distributed.get_rank()], knobs)


@pytest.mark.parametrize("number", [0, 1], ids=["torch's kernels", "ours"])
def test_flops_are_those_of_the_model(fake: list[list[dict[str, Any]]], number: int) -> None:
    model = config_of({}, "cpu").model
    per_token = model_flops(model, int(SHAPE["seq_length"]))
    tokens = int(SHAPE["seq_length"]) * int(SHAPE["micro_batch_size"])
    (found,) = fake[number]
    assert found["matmul_flops"] == tokens * (per_token.total - per_token.attention_all_keys)
    # Forward two products, backward five: the scores are made again, which the model's definition does not count.
    assert found["attention_flops"] == pytest.approx(tokens * per_token.attention_causal * 7 / 6, rel=1e-12)


def test_flops_and_states_are_those_of_a_step_on_a_cpu(
    fake: list[list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_backend(monkeypatch, "auto")  # so that what the run chooses is taken back
    monkeypatch.setenv(VARIABLE, "torch")  # products as a GPU has them: those in fp32 compute some of them again
    (found,), real = fake[0], on_cpu(str(tmp_path), TORCH)
    for fact in ("matmul_flops", "attention_flops", "states"):
        assert found[fact] == real[fact], fact
    assert found["peak"] == pytest.approx(real["peak"], rel=1e-3)  # a CPU has other kernels for norms


def test_states_are_the_planned_ones(fake: list[list[dict[str, Any]]]) -> None:
    config = config_of({**TORCH, "global_batch_size": 2}, "cuda")
    planned = estimate_memory(config)
    assert 0 <= fake[0][0]["states"] - planned.states <= 128  # counters, each some bytes
    assert fake[0][0]["peak"] <= planned.total * 1.01


def test_bytes_are_those_that_the_allocator_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_backend(monkeypatch, "auto")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        real = on_cpu(str(tmp_path), TORCH)
    file = tmp_path / "trace.json"
    profiler.export_chrome_trace(str(file))
    events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    begin = next(event["ts"] for event in events if event.get("name") == PROFILED)
    total = peak = 0
    for event in sorted((e for e in events if e.get("name") == "[memory]"), key=lambda event: float(event["ts"])):
        total += event["args"]["Bytes"]
        peak = max(peak, total) if event["ts"] >= begin else total
    assert real["peak"] == pytest.approx(peak, rel=3e-4)  # but for the scalars and rows of kernels' own


@pytest.mark.parametrize("number", range(len(PARALLEL)), ids=list(PARALLEL))
def test_messages_are_those_of_a_run_over_gloo(fake: list[list[dict[str, Any]]], tmp_path: Path, number: int) -> None:
    folders = [str(tmp_path / str(rank)) for rank in range(2)]
    for folder in folders:
        Path(folder).mkdir()
    real = run_processes(rank_on_cpu, 2, folders, list(PARALLEL.values())[number])
    for rank in range(2):
        found = fake[2 + number][rank]
        assert found["messages"] == real[rank]["messages"]
        assert len(found["messages"]) > 3
        assert found["matmul_flops"] == real[rank]["matmul_flops"]
        assert abs(found["states"] - real[rank]["states"]) <= 16  # a scalar that is not freed yet
