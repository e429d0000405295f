"""Where implementations come from: which card and which package each needs, and which tensors it takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from steel_megatron.ops import available, flash_attention
from steel_megatron.ops.available import BACKENDS, turn_on_in_torch
from steel_megatron.ops.packages import NEEDS_GPU

ALWAYS = {"torch", "unfused", "sdpa", "sdpa_flash"}
FOR_GPUS = {"steel_cuda", "te", "apex", "flash2", "flash3", "flash4", "cudnn", "varlen"}


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch):
    """A GPU of a compute capability, on a machine that has every package."""

    def of(capability: tuple[int, int]) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)

    monkeypatch.setattr(available, "why_not_importable", lambda *names: None)
    monkeypatch.setattr(flash_attention, "why_not_installed", lambda version: None)
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: True)
    return of


@pytest.mark.parametrize(
    ("capability", "there"),
    [
        ((6, 1), set()),
        ((7, 0), {"apex"}),
        ((7, 5), {"apex"}),
        ((8, 0), {"apex", "te", "flash2", "cudnn", "varlen"}),
        ((9, 0), {"apex", "te", "flash2", "flash3", "flash4", "cudnn", "varlen"}),
        ((10, 0), {"apex", "te", "flash2", "flash4", "cudnn", "varlen"}),
    ],
)
def test_each_card_has_what_it_can_run(card, capability, there):
    card(capability)
    asked = ALWAYS | FOR_GPUS - {"steel_cuda"}
    assert {name for name in asked if BACKENDS[name].missing("cuda") is None} == ALWAYS | there
    for name in asked - ALWAYS - there:
        assert f"not {capability[0]}.{capability[1]}" in BACKENDS[name].missing("cuda")


def test_a_cpu_has_none_of_those_for_gpus_and_a_gpu_none_for_cpus(card):
    card((9, 0))
    assert {name for name in BACKENDS if BACKENDS[name].missing("cpu") == NEEDS_GPU} == FOR_GPUS
    assert BACKENDS["steel_cpu"].missing("cuda") == "our attention kernel is for CPUs"
    assert all(BACKENDS[name].missing("cpu") is None for name in ALWAYS)


def test_what_a_package_or_build_lacks_is_told(card, monkeypatch):
    card((9, 0))
    monkeypatch.setattr(available, "why_not_importable", lambda *names: f"{names[0]} is not installed")
    monkeypatch.setattr(flash_attention, "why_not_installed", lambda version: f"flash-attn {version} is broken")
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: False)
    monkeypatch.setattr(available.library, "built", lambda device_type: False)
    assert BACKENDS["te"].missing("cuda") == "transformer_engine.pytorch is not installed"
    assert BACKENDS["flash3"].missing("cuda") == "flash-attn 3 is broken"
    assert BACKENDS["cudnn"].missing("cuda") == "this torch has no cuDNN"
    assert all("not built" in str(BACKENDS[f"steel_{kind}"].missing(kind)) for kind in ("cpu", "cuda"))
    for name, backend in BACKENDS.items():
        why = backend.missing("cuda")
        assert why is None or backend.install, f"{name}: {why}, and how it comes here?"


def test_transformer_engine_takes_parameters_of_one_type():
    x, fits = torch.ones(2, 4), BACKENDS["te"].fits
    weight, bias = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    assert fits(x, weight, bias)
    assert fits(x, weight, None)
    assert not fits(x, torch.ones(4))
    assert not fits(x, weight, torch.ones(4))
    assert not fits(x.bfloat16(), weight)


def heads(*counts: int) -> list[torch.Tensor]:
    return [torch.ones(2, 16, count, 8) for count in counts]


def test_torch_says_which_of_its_kernels_take_a_call(monkeypatch):
    """Causal, without mask and dropout, heads in the second place; on other answers the next backend is taken."""
    asked = []

    def answer(params):
        asked.append(params)
        return False

    for name in ("can_use_cudnn_attention", "can_use_flash_attention"):
        monkeypatch.setattr(torch.backends.cuda, name, answer)
    assert not BACKENDS["cudnn"].fits(*heads(4, 2, 2))
    (params,) = asked
    assert params.query.shape == (2, 4, 16, 8)
    assert params.key.shape == params.value.shape == (2, 2, 16, 8)
    assert params.is_causal
    assert params.enable_gqa
    assert params.attn_mask is None
    assert params.dropout == 0.0
    assert BACKENDS["sdpa_flash"].fits(*heads(4, 2, 2)), "on a CPU torch has one path, and need not be asked"
    assert len(asked) == 1
    assert not BACKENDS["sdpa_flash"].fits(*(x.to("meta") for x in heads(4, 4, 4)))
    assert not asked[-1].enable_gqa


def test_flash_attention_in_torch_is_turned_on_or_says_why_not(monkeypatch):
    turned = []

    def activate(name):
        turned.append(name)
        if name == "FA4":
            raise ModuleNotFoundError("No module named 'flash_attn.cute'\nmore")
        if name == "FA5":
            raise RuntimeError

    monkeypatch.setattr(torch.nn, "attention", SimpleNamespace(activate_flash_attention_impl=activate))
    assert turn_on_in_torch(3) is None
    assert turn_on_in_torch(4) == "torch cannot turn it on: No module named 'flash_attn.cute'"
    assert turn_on_in_torch(5) == "torch cannot turn it on: RuntimeError"
    assert turned == ["FA3", "FA4", "FA5"]
    monkeypatch.setattr(torch.nn, "attention", SimpleNamespace())
    assert turn_on_in_torch(3) == f"torch {torch.__version__} has no switch for it"
