"""The adaptors of flash-attn against stand-ins with its signatures, which check the calls and compute on a CPU."""

from __future__ import annotations

import sys
import types

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from steel_megatron.config import ConfigError
from steel_megatron.ops import available, backends, flash_attention, packages
from steel_megatron.ops.attention import Packing, attention

calls: list[tuple[str, bool]] = []


def attend(q, k, v, softmax_scale, causal, window_size):
    """(…, S, N, D) in fp64; what the packages compute."""
    assert q.ndim == k.ndim == v.ndim
    assert q.shape[-1] == k.shape[-1] == v.shape[-1]
    assert k.shape == v.shape
    assert q.shape[-2] % k.shape[-2] == 0, "query heads in groups"
    assert q.dtype == k.dtype == v.dtype
    assert q.dtype in (torch.bfloat16, torch.float16)
    assert q.stride(-1) == k.stride(-1) == v.stride(-1) == 1
    assert softmax_scale == pytest.approx(q.shape[-1] ** -0.5)
    assert causal
    left = window_size[0]
    distance = torch.arange(q.shape[-3]).unsqueeze(1) - torch.arange(q.shape[-3])
    mask = (distance >= 0) & (distance <= (left if left is not None and left >= 0 else len(distance)))
    q, k, v = (x.double().transpose(-3, -2) for x in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v, mask, scale=softmax_scale, enable_gqa=True)
    return y.transpose(-3, -2)


def pack(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale, causal, window_size):
    assert q.ndim == 3
    assert isinstance(max_seqlen_q, int)
    assert max_seqlen_q == max_seqlen_k
    for starts, x in ((cu_seqlens_q, q), (cu_seqlens_k, k)):
        assert starts.dtype == torch.int32
        assert starts.is_contiguous()
        assert int(starts[0]) == 0
        assert int(starts[-1]) == len(x)
    lengths = cu_seqlens_q.diff().tolist()
    assert max(lengths) == max_seqlen_q
    parts = zip(*(x.split(lengths) for x in (q, k, v)), strict=True)
    return torch.cat([attend(*(x[None] for x in part), softmax_scale, causal, window_size)[0] for part in parts])


def flash_attn_2():
    """The parameters of flash-attn 2.8."""

    def flash_attn_func(
        q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0,
        alibi_slopes=None, deterministic=False, return_attn_probs=False,
    ):  # fmt: skip
        assert dropout_p == 0.0
        assert q.ndim == 4
        calls.append(("whole", deterministic))
        return attend(q, k, v, softmax_scale, causal, window_size).to(q.dtype)

    def flash_attn_varlen_func(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None,
        causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None, deterministic=False,
        return_attn_probs=False, block_table=None,
    ):  # fmt: skip
        assert dropout_p == 0.0
        calls.append(("packed", deterministic))
        return pack(
            q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale, causal, window_size
        ).to(q.dtype)  # fmt: skip

    return flash_attn_func, flash_attn_varlen_func


def flash_attn_3(with_statistics: bool):
    """The parameters of flash-attn 3; early releases return (output, logsumexp)."""

    def result(y, q):
        return (y.to(q.dtype), torch.zeros(1)) if with_statistics else y.to(q.dtype)

    def flash_attn_func(
        q, k, v, softmax_scale=None, causal=False, qv=None, q_descale=None, k_descale=None, v_descale=None,
        window_size=(-1, -1), attention_chunk=0, softcap=0.0, num_splits=1, pack_gqa=None, deterministic=False,
        sm_margin=0, return_attn_probs=False,
    ):  # fmt: skip
        assert q.ndim == 4
        calls.append(("whole", deterministic))
        return result(attend(q, k, v, softmax_scale, causal, window_size), q)

    def flash_attn_varlen_func(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, seqused_q=None, seqused_k=None,
        softmax_scale=None, causal=False, qv=None, q_descale=None, k_descale=None, v_descale=None,
        window_size=(-1, -1), attention_chunk=0, softcap=0.0, num_splits=1, pack_gqa=None, deterministic=False,
        sm_margin=0, return_attn_probs=False,
    ):  # fmt: skip
        assert seqused_q is None
        assert seqused_k is None
        calls.append(("packed", deterministic))
        return result(
            pack(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale, causal, window_size), q
        )  # fmt: skip

    return flash_attn_func, flash_attn_varlen_func


def flash_attn_4():
    """The parameters of flash-attn-4 (flash_attn.cute), which always returns (output, logsumexp or None)."""

    def flash_attn_func(
        q, k, v, softmax_scale=None, causal=False, window_size=(None, None), learnable_sink=None, softcap=0.0,
        num_splits=1, pack_gqa=None, deterministic=False, mask_mod=None, return_lse=False,
    ):  # fmt: skip
        assert q.ndim == 4
        calls.append(("whole", deterministic))
        return attend(q, k, v, softmax_scale, causal, window_size).to(q.dtype), None

    def flash_attn_varlen_func(
        q, k, v, cu_seqlens_q=None, cu_seqlens_k=None, max_seqlen_q=None, max_seqlen_k=None, seqused_q=None,
        seqused_k=None, page_table=None, softmax_scale=None, causal=False, window_size=(None, None),
        learnable_sink=None, softcap=0.0, num_splits=1, pack_gqa=None, deterministic=False, return_lse=False,
    ):  # fmt: skip
        calls.append(("packed", deterministic))
        found = pack(
            q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale, causal, window_size
        )
        return found.to(q.dtype), None

    return flash_attn_func, flash_attn_varlen_func


STAND_INS = {
    "flash2": lambda: flash_attn_2(),
    "flash3": lambda: flash_attn_3(False),
    "early flash3": lambda: flash_attn_3(True),
    "flash4": lambda: flash_attn_4(),
}


@pytest.fixture(params=list(STAND_INS))
def backend(request, monkeypatch):
    """A CPU that flash-attn runs on, and the flag that asks for it."""
    name = request.param.removeprefix("early ")
    module = types.ModuleType(flash_attention.MODULES[int(name[-1])][0])
    module.flash_attn_func, module.flash_attn_varlen_func = STAND_INS[request.param]()
    if "." in module.__name__:
        monkeypatch.setitem(sys.modules, module.__name__.partition(".")[0], types.ModuleType("flash_attn"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(available, "why_no_gpu", lambda device_type, **limits: None)
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})
    flash_attention._package.cache_clear()
    packages.why_not_importable.cache_clear()
    backends.use_attention_backend(name, "cpu")
    calls.clear()
    yield name
    flash_attention._package.cache_clear()
    packages.why_not_importable.cache_clear()


def heads(dtype=torch.bfloat16, size=16, groups=2):
    """Queries, keys and values as the projection leaves them: slices of one tensor."""
    sizes = [4 * size, groups * size, groups * size]
    qkv = torch.randn(2, 12, sum(sizes), generator=torch.Generator().manual_seed(3)).to(dtype).requires_grad_()
    return qkv, [part.unflatten(-1, (-1, size)) for part in qkv.split(sizes, dim=-1)]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("lengths", [None, [12, 12], [5, 7, 1, 11]])
@pytest.mark.parametrize("window", [None, 4])
def test_outputs_and_gradients_are_those_of_torch(monkeypatch, backend, window, lengths, groups):
    packing = None if lengths is None else Packing.from_lengths(lengths, "cpu")
    found = []
    for requested in (backend, "auto"):
        monkeypatch.setattr(backends, "_requested", {"--attention-backend": requested})
        monkeypatch.setattr(backends, "_orders", {})
        qkv, (q, k, v) = heads(groups=groups)
        y = attention(q, k, v, packing, window=window)
        assert y.shape == q.shape
        found.append([y.detach(), *torch.autograd.grad(y.float().square().sum(), qkv)])
    assert calls == [("whole" if lengths is None else "packed", False)]
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).float().norm() < 0.01 * theirs.float().norm(), "more than bf16's rounding"


def test_deterministic_where_torch_is_asked_to_be(backend):
    _, (q, k, v) = heads()
    torch.use_deterministic_algorithms(True)
    try:
        attention(q, k, v)
        attention(q, k, v, Packing.from_lengths([24], "cpu"))
    finally:
        torch.use_deterministic_algorithms(False)
    assert calls == [("whole", True), ("packed", True)]


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 16), (torch.bfloat16, 12), (torch.bfloat16, 264)])
def test_what_it_does_not_take_goes_to_torch(backend, dtype, size):
    _, (q, k, v) = heads(dtype, size)
    attention(q, k, v)
    assert calls == []


def test_flash_takes_the_newest_that_is_there(backend):
    backends.use_attention_backend("flash", "cpu")
    assert backends.choice("attention", "cpu").implementation == backend
    assert backends.choice("packed_attention", "cpu").reason == "as --attention-backend flash asks"


def test_without_the_package_the_flag_is_refused(monkeypatch):
    monkeypatch.setattr(available, "why_no_gpu", lambda device_type, **limits: None)
    packages.why_not_importable.cache_clear()
    with pytest.raises(
        ConfigError, match=r"flash_attn is not installed(.|\n)*pip install --no-build-isolation flash-attn"
    ):
        backends.use_attention_backend("flash2", "cuda")
    with pytest.raises(ConfigError, match="subdirectory=hopper"):
        backends.use_attention_backend("flash3", "cuda")


def test_version_3_is_for_hopper(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for capability, fits in (((8, 0), False), ((9, 0), True), ((10, 0), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda capability=capability: capability)
        monkeypatch.setattr(flash_attention, "why_not_importable", lambda *names, functions: None)
        assert (backends.BACKENDS["flash3"].missing("cuda") is None) == fits


WORKING = """
def flash_attn_func(*arguments, **named): ...
def flash_attn_varlen_func(*arguments, **named): ...
"""
INSTALLED = {  # what lies on the path, and what is said of versions 2, 3 and 4
    "nothing": ({}, ("not installed", "not installed", "not installed")),
    "version 2": ({"flash_attn/__init__.py": WORKING}, (None, "not installed", "not installed")),
    "version 4 alone": (
        {"flash_attn/cute/__init__.py": WORKING},
        ("another package has left a folder", "not installed", None),
    ),
    "versions 2 and 4": (
        {"flash_attn/__init__.py": WORKING, "flash_attn/cute/__init__.py": WORKING},
        (None, "not installed", None),
    ),
    "version 3 from source": ({"flash_attn_interface.py": WORKING}, ("not installed", None, "not installed")),
    "version 3 from a wheel": (
        {"flash_attn_3/flash_attn_interface.py": WORKING},
        ("not installed", None, "not installed"),
    ),
    "built for another torch": (
        {
            "flash_attn/__init__.py": "raise ImportError('flash_attn_2_cuda.so: undefined symbol: _ZN3c10')",
            "flash_attn_interface.py": "raise OSError('libcudart.so.11: cannot open shared object file')",
        },
        ("broken: flash_attn_2_cuda.so: undefined symbol", "broken: libcudart.so.11", "broken: flash_attn_2_cuda.so"),
    ),
    "a dependency is missing": (
        {"flash_attn/cute/__init__.py": "import cutlass_that_is_not_there"},
        ("another package has left a folder", "not installed", "broken: No module named 'cutlass_that_is_not_there'"),
    ),
    "other functions": (
        {"flash_attn/__init__.py": "", "flash_attn_interface.py": "def flash_attn_func(): ..."},
        ("broken: it has no flash_attn_func", "broken: it has no flash_attn_varlen_func", "not installed"),
    ),
    "an error of its own": (
        {"flash_attn/__init__.py": "{}['sm_35']", "flash_attn_interface.py": "raise RuntimeError()"},
        ("broken: 'sm_35'", "broken: RuntimeError", "broken: 'sm_35'"),
    ),
}


@pytest.fixture(params=list(INSTALLED))
def installed(request, tmp_path, monkeypatch):
    """A machine with a GPU of Hopper's kind and some flash-attn; what is said of each version."""

    def forget():
        for name in list(sys.modules):
            if name.startswith("flash_attn"):
                del sys.modules[name]
        packages.why_not_importable.cache_clear()
        flash_attention._package.cache_clear()

    files, said = INSTALLED[request.param]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})
    forget()
    yield said
    forget()


def test_what_is_installed_never_breaks_a_run(installed):
    for version, said in zip((2, 3, 4), installed, strict=True):
        missing = backends.BACKENDS[f"flash{version}"].missing("cuda")
        assert missing is None if said is None else said in missing
        if said is None:
            backends.use_attention_backend(f"flash{version}", "cuda")
            assert backends.choice("attention", "cuda").implementation == f"flash{version}"
            assert flash_attention._package(version).flash_attn_func is not None
        else:
            with pytest.raises(ConfigError) as caught:
                backends.use_attention_backend(f"flash{version}", "cuda")
            assert missing in str(caught.value)
    backends.use_attention_backend("flash", "cuda")
    newest = [f"flash{version}" for version in (3, 4, 2) if installed[version - 2] is None]
    assert backends.choice("attention", "cuda").implementation == [*newest, "sdpa_flash"][0]
    backends.use_attention_backend("auto", "cuda")
    assert backends.choice("packed_attention", "cuda").implementation in {"flash3", "flash4", "varlen"}


def test_torch_runs_another_flash_attention_inside_its_own(monkeypatch):
    turned_on = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.nn.attention, "activate_flash_attention_impl", turned_on.append, raising=False)
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})
    backends.use_attention_backend("sdpa_flash3", "cuda")
    assert turned_on == ["FA3"]
    assert backends.choice("attention", "cuda").implementation == "sdpa_flash"
    assert backends.choice("packed_attention", "cuda").implementation == "varlen"

    def broken(name):
        raise RuntimeError(f"{name}: module does not expose kernels\nand more")

    monkeypatch.setattr(torch.nn.attention, "activate_flash_attention_impl", broken)
    with pytest.raises(ConfigError, match=r"turn it on: FA4: module does not expose kernels\n(.|\n)*flash-attn-4"):
        backends.use_attention_backend("sdpa_flash4", "cuda")
    monkeypatch.delattr(torch.nn.attention, "activate_flash_attention_impl")
    with pytest.raises(ConfigError, match="has no switch"):
        backends.use_attention_backend("sdpa_flash4", "cuda")
    with pytest.raises(ConfigError, match="needs a GPU"):
        backends.use_attention_backend("sdpa_flash4", "cpu")
