"""MFU is stated against the device's own dense peak, or not at all."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from steel_megatron.model.cost import Flops
from steel_megatron.training.callbacks.throughput import Throughput, device_peak_tflops, peak_memory_bytes


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H200", 989.0),
        ("NVIDIA H20", 148.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("Some Future Card", None),
    ],
)
def test_known_cards(monkeypatch, name, peak):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert device_peak_tflops(torch.device("cuda", 0), "bf16", None) == peak


def test_cpu_and_fp32_have_no_peak_unless_given():
    assert device_peak_tflops(torch.device("cpu"), "bf16", None) is None
    assert device_peak_tflops(torch.device("cuda"), "fp32", None) is None
    assert device_peak_tflops(torch.device("cpu"), "bf16", 0.4) == 0.4


def test_the_formula():
    trainer = SimpleNamespace(
        config=SimpleNamespace(training=SimpleNamespace(seq_length=10)),
        components=SimpleNamespace(
            grid=SimpleNamespace(world=SimpleNamespace(size=2), device=torch.device("cpu")),
            batch_size=SimpleNamespace(total_steps=9),
        ),
    )
    metrics = {"step": 4, "global_batch_size": 8, "step_seconds": 2.0}
    flops = Flops(attention_projections=1e9, mlp=2e9, head=1e9, attention_all_keys=2e9, attention_causal=1e9)
    callback = Throughput(flops, peak_tflops=0.24)
    callback.on_metrics(trainer, [metrics])
    assert metrics["tokens_per_second"] == 40.0  # 8 samples of 10 tokens in 2 s
    assert metrics["tflops_per_device"] == pytest.approx(0.12)  # 40 × 6e9 over 2 devices
    assert metrics["mfu"] == pytest.approx(0.5)
    assert metrics["mfu_causal"] == pytest.approx(0.5 * 5 / 6)
    assert metrics["eta_seconds"] == 10.0  # 5 steps of 2 s


def test_memory_grows_with_what_is_held():
    before = peak_memory_bytes(torch.device("cpu"))
    held = torch.ones(200_000_000, dtype=torch.uint8)
    assert peak_memory_bytes(torch.device("cpu")) >= before
    assert peak_memory_bytes(torch.device("cpu")) > held.numel()
