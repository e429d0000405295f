"""The adaptor of apex against a stand-in: the right calls, and the results of torch."""

from __future__ import annotations

import pytest
import torch

from helpers.apex_stand_in import use_stand_in
from steel_megatron.config import ConfigError
from steel_megatron.ops import apex, available, backends
from steel_megatron.ops.norm import add_rms_norm, layer_norm, rms_norm


def norms(x, residual, weight, bias):
    return [
        rms_norm(x, weight, 1e-5),
        *add_rms_norm(x, residual, weight, 1e-5),
        layer_norm(x, weight, bias, 1e-5),
        layer_norm(x, weight, None, 1e-5),
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("strided", [False, True])
def test_norms_are_those_of_torch(monkeypatch, dtype, strided):
    generator = torch.Generator().manual_seed(5)
    wide = torch.randn(3, 5, 48, generator=generator).to(dtype)
    x = wide[..., :24] if strided else wide[..., :24].contiguous()
    inputs = [x, *(torch.randn(shape, generator=generator).to(dtype) for shape in ((3, 5, 24), (24,), (24,)))]
    inputs = [tensor.requires_grad_() for tensor in inputs]
    found = []
    monkeypatch.setattr(backends, "_requested", {"--kernel-backend": "torch"})
    monkeypatch.setattr(backends, "_orders", {})
    for stand_in in (False, True):
        if stand_in:
            use_stand_in(monkeypatch)
            assert backends.pick("rms_norm", x, inputs[2]) == "apex"
            assert backends.pick("layer_norm", x, inputs[2], None) == "apex"
        outputs = norms(*inputs)
        gradients = torch.autograd.grad(sum(y.float().square().sum() for y in outputs), inputs)
        found.append([*outputs, *gradients])
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    for theirs, ours in zip(*found, strict=True):
        assert (ours - theirs).float().norm() <= tolerance * theirs.float().norm()


def states(dtype=torch.float32):
    generator = torch.Generator().manual_seed(2)
    shapes = [(4, 3), (7,), (0, 5)]
    weights, grads = ([torch.randn(s, generator=generator, dtype=dtype) for s in shapes] for _ in range(2))
    return weights, grads, [torch.zeros(s) for s in shapes], [torch.zeros(s) for s in shapes]


def test_adamw_is_torchs_on_scaled_gradients(monkeypatch):
    use_stand_in(monkeypatch)
    weights, _, exp_avgs, exp_avg_sqs = states()
    reference = [weight.clone().requires_grad_() for weight in weights]
    theirs = torch.optim.AdamW(reference, lr=0.02, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for step in (1, 2, 3):
        grads = [torch.randn_like(weight) for weight in weights]
        for parameter, grad in zip(reference, grads, strict=True):
            parameter.grad = grad * 0.25
        theirs.step()
        scale = torch.tensor(0.25, dtype=torch.float64)
        apex.adamw_(weights, grads, exp_avgs, exp_avg_sqs, scale, 0.02, 0.9, 0.95, 1e-8, 0.1, step)
    for ours, parameter in zip(weights, reference, strict=True):
        torch.testing.assert_close(ours, parameter.detach(), rtol=1e-5, atol=1e-6)


def test_a_scale_that_is_not_a_number_changes_nothing(monkeypatch):
    use_stand_in(monkeypatch)
    found, before = states(), states()
    scale = torch.tensor(float("nan"), dtype=torch.float64)
    apex.adamw_(*found, scale, 0.02, 0.9, 0.95, 1e-8, 0.1, 1)
    for ours, kept in zip(found, before, strict=True):
        torch.testing.assert_close(ours, kept, rtol=0, atol=0)


def test_what_apex_lacks_is_served_as_by_auto(monkeypatch):
    use_stand_in(monkeypatch)
    assert backends.choice("rope", "cpu").implementation in ("steel", "torch")
    assert backends.choice("adamw", "cpu").reason == "as --kernel-backend apex asks"


def test_without_apex_the_flag_is_refused(monkeypatch):
    monkeypatch.setattr(available, "why_no_gpu", lambda device_type, **limits: None)
    with pytest.raises(ConfigError, match=r"amp_C is not installed(.|\n)*APEX_CUDA_EXT=1 pip install"):
        backends.use_kernel_backend("apex", "cuda")
