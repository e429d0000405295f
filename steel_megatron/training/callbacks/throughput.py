"""Tokens per second, MFU and memory, from the steps' time."""

from __future__ import annotations

import resource
import sys

import torch

from steel_megatron.model.cost import Flops
from steel_megatron.training.loop import Callback, Metrics, Trainer

# Dense peak of the 16-bit tensor cores in TFLOP/s, from the vendor's data sheets (never the 2:4-sparse figure).
# The first name that occurs in the device's name counts.
DENSE_16_BIT_TFLOPS = (
    ("H100 PCIe", 756.0),
    ("H100 NVL", 835.0),
    ("H100", 989.0),
    ("H800", 989.0),
    ("H200", 989.0),
    ("H20", 148.0),
    ("B200", 2250.0),
    ("A100", 312.0),
    ("A800", 312.0),
    ("A40", 149.7),
    ("A30", 165.0),
    ("A10", 125.0),
    ("L40S", 362.0),
    ("L40", 181.0),
    ("L20", 119.5),
    ("L4", 121.0),
    ("RTX 4090", 165.2),
    ("RTX 3090", 71.2),
    ("V100", 125.0),
)


def device_peak_tflops(device: torch.device, precision: str, given: float | None) -> float | None:
    """Dense peak of one device, or None where it is not known: CPUs, unlisted cards, fp32."""
    if given is not None:
        return given
    if device.type != "cuda" or precision == "fp32":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in DENSE_16_BIT_TFLOPS if part in name), None)


def peak_memory_bytes(device: torch.device) -> int:
    """Highest memory so far: allocated on the GPU, or resident in this process on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Throughput(Callback):
    """Adds ``tokens_per_second``, ``tflops_per_device``, ``mfu``, ``mfu_causal``, ``memory_gb`` and ``eta_seconds``.

    MFU = FLOPs per token that the model's definition requires (see :mod:`steel_megatron.model.flops`) × tokens per
    second / (devices × dense peak); ``mfu`` and ``tflops_per_device`` count attention to all keys, ``mfu_causal`` only
    to the past. The clock runs over training steps alone, not over validation and saving, from one reading of the
    device's numbers to the next: steps that were read together have the same time.
    """

    def __init__(self, flops: Flops, peak_tflops: float | None) -> None:
        self.flops = flops
        self.peak_tflops = peak_tflops
        self.recent: list[float] = []

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        for metrics in rows:
            self.add(trainer, metrics)

    def add(self, trainer: Trainer, metrics: Metrics) -> None:
        """Adds a step's figures to its metrics."""
        seconds = metrics["step_seconds"]
        devices = trainer.components.grid.world.size
        rate = metrics["global_batch_size"] * trainer.config.training.seq_length / seconds
        tflops = rate * self.flops.total / devices / 1e12
        self.recent = [*self.recent[-49:], seconds]
        left = trainer.components.batch_size.total_steps - metrics["step"]
        metrics["tokens_per_second"] = rate
        metrics["tflops_per_device"] = tflops
        metrics["mfu"] = tflops / self.peak_tflops if self.peak_tflops else None
        causal = self.flops.total_causal / self.flops.total
        metrics["mfu_causal"] = tflops * causal / self.peak_tflops if self.peak_tflops else None
        metrics["memory_gb"] = peak_memory_bytes(trainer.components.grid.device) / 1e9
        metrics["eta_seconds"] = left * sorted(self.recent)[len(self.recent) // 2]
