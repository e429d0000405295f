"""Timing what is here: everything that runs is timed, and what computes something else is left out."""

from __future__ import annotations

import pytest
import torch

from steel_megatron.config import ModelConfig
from steel_megatron.ops import available, backends, measured, norm
from steel_megatron.plan import measure as measuring

MODEL = ModelConfig(
    num_layers=2, hidden_size=32, ffn_hidden_size=64, num_attention_heads=4, num_query_groups=2, vocab_size=64
)
SHAPE = measuring.Shape(MODEL, 2, 16, torch.bfloat16, "tiny")
CPU = torch.device("cpu")
WITHOUT_COMPILING = measuring.worth_trying("cpu")


def test_what_runs_here_is_timed_and_the_rest_says_why():
    timings = list(measuring.measure(SHAPE, CPU, 1e-4, WITHOUT_COMPILING))
    record = measuring.record_of(timings, SHAPE)
    assert record["seconds"].keys() == measuring.CASES.keys()
    for operation in measuring.CASES:
        known = backends.OPERATIONS[operation]
        assert known.backends[-1] in record["seconds"][operation]
        tried = {timing.backend for timing in timings if timing.operation == operation}
        assert tried == set(known.backends) - {"compiled"}
    for timing in timings:
        if timing.seconds is None:
            assert [timing.failed, timing.refused, timing.missing].count("") == 2
        else:
            assert timing.seconds > 0
    assert measuring.Timing("rms_norm", "apex", missing="it needs a GPU") in timings
    assert {name for name, known in backends.OPERATIONS.items() if known.measured} == measuring.CASES.keys()


def test_an_implementation_that_computes_something_else_is_left_out(monkeypatch):
    monkeypatch.setattr(measuring, "CASES", {"rms_norm": measuring.CASES["rms_norm"]})
    there = available.Backend(lambda device_type: None, lambda *tensors: True)
    monkeypatch.setitem(backends.BACKENDS, "apex", there)
    monkeypatch.setitem(backends.BACKENDS, "te", there)

    def refuses(x, weight_H, epsilon):
        raise AttributeError("module has no attribute rms_norm\nand more")

    monkeypatch.setitem(norm._RMS_NORM, "apex", lambda x, weight_H, epsilon: x * weight_H)
    monkeypatch.setitem(norm._RMS_NORM, "te", refuses)
    record = measuring.record_of(measuring.measure(SHAPE, CPU, 1e-4, WITHOUT_COMPILING), SHAPE)
    assert not {"apex", "te"} & record["seconds"]["rms_norm"].keys()
    assert "away from fp32's" in record["failed"]["rms_norm"]["apex"]
    assert record["failed"]["rms_norm"]["te"] == "module has no attribute rms_norm"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 2.0])
def test_disagreement(bad):
    right = [torch.ones(4)]
    assert measuring.disagreement([torch.ones(4) * 1.001], right, 0.02) is None
    assert measuring.disagreement([torch.ones(4) * bad], right, 0.02) is not None


def test_the_times_are_kept_for_later_runs(monkeypatch, tmp_path):
    monkeypatch.setenv(measured.FILE_VARIABLE, str(tmp_path / "times.json"))
    monkeypatch.setattr(measuring, "CASES", {"rms_norm": measuring.CASES["rms_norm"]})
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})
    measured.use("cpu", None)
    text = measuring.measure_here("demo")
    assert "RMSNorm: " in text
    assert str(tmp_path / "times.json") in text
    first = measured.fastest_first("rms_norm", "cpu")[0]
    assert backends.choice("rms_norm", "cpu").implementation == first
    measured.use("cpu", None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_all_that_is_installed_on_a_gpu_agrees_with_fp32(dtype):
    shape = ModelConfig(
        num_layers=2, hidden_size=512, ffn_hidden_size=768, num_attention_heads=8, num_query_groups=2, vocab_size=1000
    )
    shape = measuring.Shape(shape, 2, 256, dtype, "small")
    timings = list(measuring.measure(shape, torch.device("cuda"), seconds=1e-3))
    assert measuring.record_of(timings, shape)["seconds"].keys() == measuring.CASES.keys()
    assert {timing.name: timing.failed for timing in timings if timing.failed} == {}
