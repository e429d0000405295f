"""Weight gradients that go straight into the gradient buffer."""

from __future__ import annotations

import torch

from steel_megatron.parallel.tensor import weight_grad


def test_that_gradients_are_rounded_is_said_once(monkeypatch, caplog):
    device = torch.device("cuda", 7)  # of no machine that runs tests, so that nothing is remembered
    monkeypatch.setattr(weight_grad, "_adds_in_fp32", lambda *_: False)
    assert not weight_grad._fp32_accumulation(torch.bfloat16, device)
    assert not weight_grad._fp32_accumulation(torch.bfloat16, device)
    assert caplog.text.count("rounded to bfloat16 before it is added in fp32") == 1
    monkeypatch.setattr(weight_grad, "_adds_in_fp32", lambda *_: True)
    assert weight_grad._fp32_accumulation(torch.float16, device)
    assert "float16 before" not in caplog.text.replace("bfloat16", "")
    weight_grad._fp32_accumulation.cache_clear()
