"""The console line: everything a person asks first, in one readable line."""

from __future__ import annotations

from steel_megatron.training.callbacks.console import line

METRICS = {
    "step": 20,
    "loss": 3.25,
    "lr": 4e-4,
    "grad_norm": 0.5,
    "skipped": False,
    "loss_scale": 1.0,
    "tokens_per_second": 12345.6,
    "tflops_per_device": 0.0421,
    "mfu": None,
    "memory_gb": 1.24,
    "consumed_tokens": 163840,
    "eta_seconds": 3725.2,
}


def test_line_without_a_known_peak():
    assert line(METRICS, 400, 0.0123) == (
        "step  20/400 | loss 3.2500 | lr 4.000e-04 | grad norm 0.500 | 12,346 tok/s | 0.0421 TFLOP/s per device | "
        "1.2 GB | data wait 1.2% | 163,840 tokens | ETA 1:02:05"
    )


def test_line_with_validation_mfu_and_a_skipped_step():
    text = line(METRICS | {"mfu": 0.412, "valid_loss": 3.5, "skipped": True, "loss_scale": 512.0}, 400, 0.0)
    assert "valid loss 3.5000" in text
    assert "MFU 41.2%" in text
    assert "SKIPPED (loss scale 512)" in text
