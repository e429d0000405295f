"""The peak of real training steps, counted by the allocator, against the plan."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from helpers.kernels import set_backend
from steel_megatron.ops import cpu_products
from steel_megatron.parallel.tensor import linear_cross_entropy
from steel_megatron.plan.memory import estimate_memory

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "memory.py"
SHAPE = {
    "num_layers": 3,
    "hidden_size": 128,
    "ffn_hidden_size": 352,
    "num_attention_heads": 4,
    "num_query_groups": 2,
    "vocab_size": 4096,
    "seq_length": 256,
}


@pytest.fixture(scope="module")
def memory() -> ModuleType:
    spec = importlib.util.spec_from_file_location("memory_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"recompute_granularity": "selective", "exp_avg_dtype": "bf16"},
        {"recompute_granularity": "full", "kernel_backend": "torch"},
        {"precision": "fp32", "activation": "gelu", "accumulate_allreduce_grads_in_fp32": False},
        {"activation": "helpers.outside:mish {gated: true}"},
    ],
    ids=["bf16", "selective", "full", "fp32", "activation from outside"],
)
def test_one_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, memory: ModuleType, knobs: dict[str, Any]
) -> None:
    monkeypatch.setenv(cpu_products.VARIABLE, "torch")
    check(monkeypatch, tmp_path, memory, knobs)


def test_a_head_in_chunks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, memory: ModuleType) -> None:
    monkeypatch.setitem(linear_cross_entropy.CHUNK_BYTES, "cpu", 1 << 20)
    check(monkeypatch, tmp_path, memory, {})


def test_16_bits_multiplied_in_fp32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, memory: ModuleType) -> None:
    monkeypatch.setenv(cpu_products.VARIABLE, "fp32")
    check(monkeypatch, tmp_path, memory, {"kernel_backend": "torch"})


def check(monkeypatch: pytest.MonkeyPatch, folder: Path, memory: ModuleType, knobs: dict[str, Any]) -> None:
    set_backend(monkeypatch, "auto")  # so that what the run chooses is taken back
    knobs = {**SHAPE, **knobs}
    found = memory.measure(knobs, "cpu", str(folder))
    planned = estimate_memory(memory.config_of(knobs, "cpu"))
    assert planned.states == pytest.approx(found.states, rel=5e-3)  # and tables, counters
    assert planned.total == pytest.approx(found.peak, rel=0.02)
