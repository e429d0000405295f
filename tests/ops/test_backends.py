"""One policy says what is used and why."""

from __future__ import annotations

import sys

import pytest
import torch

from steel_megatron.config import ConfigError
from steel_megatron.ops import available, backends, packages, shipped
from steel_megatron.ops.constants import mark_constants
from steel_megatron.ops.norm import rms_norm


@pytest.fixture(autouse=True)
def nothing_requested(monkeypatch):
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})


def built(monkeypatch, value):
    monkeypatch.setattr(available.library, "built", lambda device_type: value)


def no_gpu_in_sight(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # the choice for a card that has what it needs


def test_report_names_an_implementation_and_a_reason_for_each_operation(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = backends.report()
    assert {"attention", "attention within documents", "RMSNorm", "RoPE", "cross entropy", "optimizer"} <= found.keys()
    assert all("(" in found[known.name] for known in backends.OPERATIONS.values())
    assert "flash2" in found["for GPUs"]


def test_report_says_how_a_missing_backend_comes_here(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(available, "why_not_importable", lambda *names: f"{names[0]} is not installed")
    found = backends.report()["not here: te"]
    assert found.startswith("transformer_engine.pytorch is not installed; pip install")


@pytest.mark.parametrize(
    ("device", "dtype", "head_dim", "implementation"),
    [
        ("cuda", torch.bfloat16, 64, "varlen"),
        ("cuda", torch.float16, 256, "varlen"),
        ("cuda", torch.float32, 64, "sdpa"),
        ("cuda", torch.bfloat16, 320, "sdpa"),
        ("cpu", torch.bfloat16, 64, "sdpa"),
    ],
)
def test_varlen_attention_is_used_where_its_kernel_runs(monkeypatch, device, dtype, head_dim, implementation):
    no_gpu_in_sight(monkeypatch)
    heads = torch.empty(1, 2, 1, head_dim, dtype=dtype, device="meta")
    monkeypatch.setitem(backends._orders, ("packed_attention", "meta"), backends._order("packed_attention", device))
    assert backends.pick("packed_attention", heads, heads, heads) == implementation


def test_old_cards_attend_document_by_document(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert backends.choice("packed_attention", "cuda").implementation == "sdpa"
    assert "8.0" in backends.choice("packed_attention", "cuda").reason


def test_a_package_that_does_not_load_is_told_from_one_that_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "built_for_another_torch.py").write_text("raise ImportError('undefined symbol: _ZN2at')\n")
    (tmp_path / "needs_another.py").write_text("import not_there_either\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    packages.why_not_importable.cache_clear()
    assert packages.why_not_importable("math") is None
    assert packages.why_not_importable("not.there") == "not.there is not installed"
    assert "installed but broken: undefined symbol" in packages.why_not_importable("math", "built_for_another_torch")
    assert "installed but broken: No module named 'not_there_either'" in packages.why_not_importable("needs_another")
    sys.modules.pop("needs_another", None)


def test_a_backend_that_is_not_there_is_refused_with_the_step_that_installs_it(monkeypatch):
    built(monkeypatch, False)
    with pytest.raises(ConfigError, match=r"not built(.|\n)*pip install"):
        backends.use_kernel_backend("steel", "cpu")
    with pytest.raises(ConfigError, match="needs a GPU") as caught:
        backends.use_kernel_backend("apex", "cpu")
    assert "pip install" not in str(caught.value), "that would not help on a CPU"
    with pytest.raises(ConfigError, match="one of auto, steel, compiled, torch, te, apex"):
        backends.use_kernel_backend("liger", "cpu")


@pytest.mark.parametrize(
    ("requested", "there", "device", "implementation"),
    [
        ("auto", True, "cpu", "steel"),
        ("auto", True, "cuda", "steel"),
        ("auto", False, "cuda", "torch"),
        ("auto", False, "cpu", "torch"),
        ("torch", True, "cpu", "torch"),
        ("steel", True, "cuda", "steel"),
    ],
)
def test_our_kernels_are_taken_where_they_were_built(monkeypatch, requested, there, device, implementation):
    built(monkeypatch, there)
    backends.use_kernel_backend(requested, device)
    assert backends.choice("rms_norm", device).implementation == implementation


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("requested", list(backends.FLAGS["--kernel-backend"]))
@pytest.mark.parametrize("operation", list(backends.OPERATIONS))
def test_every_reason_speaks_of_the_implementation_that_it_is_given_for(
    monkeypatch, operation, requested, there, device
):
    built(monkeypatch, there)
    no_gpu_in_sight(monkeypatch)
    monkeypatch.setattr(available, "why_not_importable", lambda *names: None if there else f"{names[0]} is not there")
    known = backends.OPERATIONS[operation]
    try:
        backends.use_kernel_backend(requested, device)
    except ConfigError:
        return
    chosen = backends.choice(operation, device)
    table = backends._table(operation, device)
    if chosen.reason == f"as {known.flag} {requested} asks":
        assert chosen.implementation in backends.FLAGS[known.flag][requested]
        return
    # What follows the first part is why others were passed over; each is named, and none is the one that was taken.
    first, *passed = chosen.reason.split("; ")
    if chosen.implementation in table:
        assert first == table[chosen.implementation]
    elif first == f"there is no other on {device}":
        needs_gpu = [backends.BACKENDS[name].missing(device) == packages.NEEDS_GPU for name in known.backends[:-1]]
        assert all(needs_gpu)
    else:
        passed.insert(0, first)
    for part in passed:
        name, _, why = part.partition(": ")
        assert name in known.backends
        assert name != chosen.implementation
        missing = backends.BACKENDS[name].missing(device)
        held_back = requested == "torch" and name in backends.OURS
        assert why == (missing or ("not with --kernel-backend torch" if held_back else "not timed here"))


def test_other_types_go_to_torch(monkeypatch):
    built(monkeypatch, True)
    half, single = torch.ones(2, dtype=torch.bfloat16), torch.ones(2)
    assert backends.pick("rms_norm", half, half) == "steel"
    assert backends.pick("rms_norm", half, single) == "torch"
    assert not backends.serves("rms_norm", single.double())


def test_a_choice_that_does_not_take_the_tensors_is_told_once(monkeypatch, caplog):
    built(monkeypatch, True)
    backends.use_kernel_backend("steel", "cpu")
    for _ in range(2):
        assert backends.pick("rms_norm", torch.ones(2, 6, dtype=torch.float64)) == "torch"
    assert [record.getMessage() for record in caplog.records] == [
        "RMSNorm steel does not take float64 of width 6: torch runs"
    ]


def test_what_a_backend_lacks_is_served_as_by_auto(monkeypatch):
    built(monkeypatch, True)
    monkeypatch.setitem(backends.BACKENDS, "te", available.Backend(lambda device: None, lambda *tensors: True))
    backends.use_kernel_backend("te", "cpu")
    assert backends.choice("rope", "cpu").implementation == "steel"
    assert backends.OPERATIONS["rope"].backends == ("steel", "compiled", "torch")


@pytest.mark.parametrize("requested", ["auto", "torch"])
def test_the_choice_is_a_constant_for_torch_compile(requested):
    """Even in the first call, when the order is not known yet: no graph break, no file is read inside the graph."""
    backends.use_kernel_backend(requested, "cpu")
    mark_constants()
    x, weight = torch.randn(3, 16), torch.ones(16)
    compiled = torch.compile(lambda x: rms_norm(x, weight, 1e-5), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), rms_norm(x, weight, 1e-5))


@pytest.mark.parametrize("instructions", [*shipped.SPEEDS, "aarch64"])
def test_on_a_cpu_only_what_holds_on_its_instruction_set_is_said(monkeypatch, instructions):
    built(monkeypatch, True)
    monkeypatch.setattr(shipped, "instruction_set", lambda: instructions)
    for operation, known in backends.OPERATIONS.items():
        if not known.measured or "cpu" not in known.auto:
            continue
        chosen, speed = backends.choice(operation, "cpu"), shipped.speed(operation)
        ours = next(iter(known.auto["cpu"]))
        assert instructions in chosen.reason
        slower = speed is not None and speed < 0.9 and operation not in shipped.ADDS_RESIDUAL
        assert chosen.implementation == (known.backends[-1] if slower else ours)
        assert ("shipped times" in chosen.reason) == (speed is not None)
        others = [other for other in [*shipped.SPEEDS, "aarch64"] if other not in instructions]
        assert not any(other in chosen.reason for other in others if other != "base")


def test_the_instruction_set_is_that_of_the_kernels(monkeypatch):
    from steel_megatron import _ops

    monkeypatch.setattr(shipped.platform, "machine", lambda: "x86_64")
    assert shipped.instruction_set() == _ops.instruction_set
    monkeypatch.setattr(shipped.platform, "machine", lambda: "aarch64")
    assert shipped.instruction_set() == "aarch64"
