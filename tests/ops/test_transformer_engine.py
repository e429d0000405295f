"""The adaptor calls Transformer Engine as it is documented, and says how to install it where it is not there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers import transformer_engine_stand_in as stand_in
from steel_megatron.config import ConfigError
from steel_megatron.ops import backends, transformer_engine
from steel_megatron.ops.norm import add_rms_norm, layer_norm, rms_norm


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    stand_in.restore_after(monkeypatch)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_where_it_is_missing_the_error_names_the_command(device):
    with pytest.raises(ConfigError, match=r"pip install(.|\n)*transformer-engine(.|\n)*local"):
        transformer_engine.require(device)
    stand_in.install()
    transformer_engine.require(device)


@pytest.mark.parametrize("fp8_format", ["hybrid", "e4m3"])
def test_recipes(fp8_format):
    stand_in.install()
    form = stand_in.Format(fp8_format)
    current = transformer_engine.make_recipe(fp8_format, "tensorwise", 1024, reduce_amax=False)
    assert current == stand_in.Float8CurrentScaling(form)
    delayed = transformer_engine.make_recipe(fp8_format, "delayed", 16, reduce_amax=True)
    assert delayed == stand_in.DelayedScaling(0, form, 16, "max", True)


@pytest.mark.parametrize("old", [False, True])
def test_regions_by_either_name(old):
    stand_in.install(old=old)
    with transformer_engine.autocast("recipe", "group"):
        assert [(region.recipe, region.group) for region in stand_in.autocast.active] == [("recipe", "group")]
    assert stand_in.autocast.active == []


def test_norms_are_modules_that_hold_the_parameters():
    stand_in.install()
    backends.use_kernel_backend("te", "cpu")
    made = stand_in._Norm.made
    weight, bias = nn.Parameter(torch.linspace(0.5, 2.0, 32)), nn.Parameter(torch.linspace(-1.0, 1.0, 32))
    other = nn.Parameter(weight.detach().clone())
    x = torch.randn(6, 32, generator=torch.Generator().manual_seed(1), requires_grad=True)
    for _ in range(2):
        weight.grad = None
        y = rms_norm(x, weight, 1e-3)
        total = add_rms_norm(x, x, weight, 1e-3)[0]
        torch.testing.assert_close(y, nn.functional.rms_norm(x, (32,), weight, 1e-3))
        torch.testing.assert_close(total, nn.functional.rms_norm(2 * x, (32,), weight, 1e-3))
        y.sum().backward()
        torch.testing.assert_close(weight.grad, (y / weight).sum(0).detach())
    assert [(type(norm), norm.weight is weight, norm.eps) for norm in made] == [(stand_in.RMSNorm, True, 1e-3)]
    y = layer_norm(x, other, bias, 1e-4)
    torch.testing.assert_close(y, nn.functional.layer_norm(x, (32,), other, bias, 1e-4))
    y.sum().backward()
    assert torch.equal(bias.grad, torch.full((32,), 6.0))
    assert type(made[1]) is stand_in.LayerNorm


def test_a_norm_with_a_tensor_that_is_no_parameter_is_left_to_others():
    stand_in.install()
    backends.use_kernel_backend("te", "cpu")
    rms_norm(torch.ones(2, 16), torch.ones(16), 1e-5)
    assert stand_in._Norm.made == []
