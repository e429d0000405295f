"""What torch.compile fuses where there is no nvcc: the numbers of the references, and no fp32 copy of the logits.

Most tests run the functions as they are written (torch's stance "force_eager"), which is what is compiled; compiling
takes seconds each.
"""

from __future__ import annotations

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from steel_megatron.config.activations import ACTIVATIONS, GATED
from steel_megatron.ops import available, backends
from steel_megatron.ops.activation import activate
from steel_megatron.ops.compiled import activation, compiler, cross_entropy, norm, rope
from steel_megatron.ops.compiled import qk_norm_rope as compiled_heads
from steel_megatron.ops.cross_entropy import token_losses
from steel_megatron.ops.norm import add_layer_norm, add_rms_norm, layer_norm, rms_norm, rms_norm_beside
from steel_megatron.ops.qk_norm_rope import qk_norm_rope
from steel_megatron.ops.rope import RopeSettings, rotate, rotate_heads_, rotation

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.01, torch.float16: 0.002}


@pytest.fixture
def as_written():
    with torch.compiler.set_stance("force_eager"):
        yield


def tensors(dtype, *shapes):
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def results(operation, backend, function, inputs):
    """Outputs and gradients of all inputs, in fp64."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    with backends.forced(operation, backend, "cpu"):
        outputs = function(*leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        weights = tensors(torch.float64, *(y.shape for y in outputs))
        sum((y.double() * w).sum() for y, w in zip(outputs, weights, strict=True)).backward()
    return [x.detach().double() for x in (*outputs, *(leaf.grad for leaf in leaves))]


def check(operation, function, inputs):
    """The compiled form against torch's in fp32, from the same rounded numbers."""
    found = results(operation, "compiled", function, inputs)
    expected = results(operation, "torch", function, [x.float() for x in inputs])
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() <= TOLERANCE[inputs[0].dtype] * theirs.norm().clamp_min(1e-12)


dtypes = pytest.mark.parametrize("dtype", list(TOLERANCE))
H = 24


@dtypes
def test_norms(as_written, dtype):
    x, residual, weight, bias = tensors(dtype, (3, 5, H), (3, 5, H), (H,), (H,))
    check("rms_norm", lambda x, w: rms_norm(x, w, 1e-5), [x, weight])
    check("rms_norm", lambda x, w: rms_norm_beside(x, w, 1e-5), [x, weight])
    check("rms_norm", lambda x, r, w: add_rms_norm(x, r, w, 1e-5), [x, residual, weight])
    check("layer_norm", lambda x, w, b: layer_norm(x, w, b, 1e-5), [x, weight, bias])
    check("layer_norm", lambda x, w: layer_norm(x, w, None, 1e-5), [x, weight])
    check("layer_norm", lambda x, r, w, b: add_layer_norm(x, r, w, b, 1e-5), [x, residual, weight, bias])


@dtypes
def test_a_norm_whose_sum_alone_is_used(as_written, dtype):
    x, residual, weight = tensors(dtype, (3, 5, H), (3, 5, H), (H,))
    check("rms_norm", lambda x, r, w: (add_rms_norm(x, r, w, 1e-5)[1], w.sum()), [x, residual, weight])


@dtypes
@pytest.mark.parametrize("name", [*ACTIVATIONS.shipped])
def test_activations(as_written, dtype, name):
    if name not in GATED:
        x = tensors(dtype, (4, 7, 10))
        check("activation", lambda x: activation.activation(x, name, False), x) if name == "gelu" else check(
            "activation", lambda x: activate(x, name), x
        )
    else:
        check("activation", lambda x: activate(x, name), tensors(dtype, (4, 7, 20)))


@dtypes
@pytest.mark.parametrize("rotary_dim", [8, 4])
def test_rope(as_written, dtype, rotary_dim):
    by = rotation(RopeSettings(rotary_dim, 10000.0), 6, torch.device("cpu"))
    check("rope", lambda x: rotate(x, by), tensors(dtype, (2, 6, 3, 8)))

    def heads(qkv):
        return rotate_heads_(qkv * 1, by, [24, 8, 8], 8)

    check("rope", heads, tensors(dtype, (2, 6, 40)))


@dtypes
@pytest.mark.parametrize("rotary_dim", [8, 4, 0])
def test_norms_of_heads_with_rope(as_written, dtype, rotary_dim):
    by = rotation(RopeSettings(rotary_dim, 10000.0), 6, torch.device("cpu")) if rotary_dim else None
    inputs = tensors(dtype, (2, 6, 64), (8,), (8,))
    check("qk_norm_rope", lambda x, q, k: qk_norm_rope(x, q, k, 1e-5, by, 4), inputs)


@dtypes
@pytest.mark.parametrize("columns", [(0, 13), (0, 11), (5, 8), (40, 13), (3, 0)])
@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
def test_cross_entropy(as_written, dtype, columns, z_loss):
    logits = tensors(dtype, (6, 13))
    labels = torch.tensor([0, 3, 5, 7, 10, 11])
    join = (lambda own: (own[0].clamp_min(-5.0), own[1])) if columns[1] == 0 else None
    check("cross_entropy", lambda x: token_losses(x * 1, labels, columns, z_loss=z_loss, join=join), logits)


def test_numbers_that_are_none_stay_none(as_written):
    logits = torch.zeros(3, 5)
    logits[0, 1], logits[1] = float("nan"), float("-inf")
    partition, target = cross_entropy.cross_entropy_statistics(logits, torch.tensor([0, 0, 0]), 0, 5)
    assert partition[0].isnan()
    assert partition[1] == -torch.inf
    assert partition[2].isfinite()
    assert target[2] == 0


def test_fakes_say_what_comes_out(as_written):
    x, weight = tensors(torch.bfloat16, (2, 3, H), (H,))
    statistics = torch.rand(6)
    heads, size, *grads = tensors(torch.bfloat16, (2, 3, 64), (8,), (2, 3, 4, 8), (2, 3, 2, 8), (2, 3, 2, 8))
    angles = torch.rand(1, 3, 1, 4), torch.rand(1, 3, 1, 4)
    cases = [
        (norm.rms_norm, (x, weight, 1e-5)),
        (norm.add_rms_norm, (x, x * 2, weight, 1e-5)),
        (norm.rms_norm_backward, (x, None, x, weight, statistics)),
        (norm.layer_norm, (x, weight, weight, 1e-5)),
        (norm.add_layer_norm, (x, x * 2, weight, weight, 1e-5)),
        (norm.layer_norm_backward, (x, x, x, weight, statistics, statistics)),
        (activation.activation, (x, "silu", True)),
        (activation.activation_backward, (x[..., : H // 2].contiguous(), x, "silu", True)),
        (rope.rope, (x.view(2, 3, 3, 8), torch.rand(1, 3, 1, 4), torch.rand(1, 3, 1, 4), False)),
        (compiled_heads.qk_norm_rope, (heads, size, size, *angles, 4, 1e-5)),
        (compiled_heads.qk_norm_rope, (heads, size, size, None, None, 4, 1e-5)),
        (compiled_heads.qk_norm_rope_backward, (*grads, heads, size, size, torch.rand(2, 3, 6), *angles)),
        (cross_entropy.cross_entropy_statistics, (x[0], torch.tensor([1, 2, 3]), 0, H)),
    ]
    for operation, arguments in cases:
        torch.library.opcheck(operation, arguments, test_utils=("test_schema", "test_faketensor"))


def test_it_needs_a_compiler(monkeypatch):
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(compiler, "why_not_importable", lambda *names, functions: None)
    assert "C++ compiler" in compiler.why_not("cpu")
    assert "C compiler" in compiler.why_not("cuda")
    monkeypatch.setattr(compiler, "why_not_importable", lambda *names, functions: "triton is not installed")
    assert compiler.why_not("cuda") == "triton is not installed"


def test_it_serves_gpus_without_our_kernels(monkeypatch):
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})
    monkeypatch.setattr(available.library, "built", lambda device_type: False)
    there = available.Backend(lambda device_type: None, lambda *tensors: True)
    monkeypatch.setitem(backends.BACKENDS, "compiled", there)
    for operation in (name for name, known in backends.OPERATIONS.items() if "compiled" in known.backends):
        chosen = backends.choice(operation, "cuda")
        assert chosen.implementation == "compiled"
        assert "steel: compiled kernels for cuda were not built" in chosen.reason
    assert backends.slow_paths("cuda") is None or "cross entropy" not in backends.slow_paths("cuda")


def most_allocated(function):
    """Bytes that torch's CPU allocator handed out at once beyond what was there."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        function()
    now = most = 0
    for event in sorted(recorded.events(), key=lambda event: event.time_range.start):
        if event.name == "[memory]":
            now += event.cpu_memory_usage
            most = max(most, now)
    return most


def test_compiled_cross_entropy_makes_no_copy_of_the_logits():
    logits, labels = torch.randn(512, 4096).bfloat16(), torch.arange(512)
    expected = logits.float().logsumexp(1)
    scale = torch.ones(512)
    gradient = logits.clone()
    cross_entropy.cross_entropy_statistics(logits, labels, 0, 4000)  # compiles
    cross_entropy.cross_entropy_gradient_(gradient.clone(), labels, expected, scale, scale, 0, 4000)
    kept = []
    assert (
        most_allocated(lambda: kept.extend(cross_entropy.cross_entropy_statistics(logits, labels, 0, 4096))) < 100_000
    )
    assert (
        most_allocated(lambda: cross_entropy.cross_entropy_gradient_(gradient, labels, expected, scale, scale, 0, 4096))
        < 100_000
    )
    torch.testing.assert_close(kept[0], expected, atol=1e-3, rtol=1e-4)
    exact = torch.softmax(logits.float(), 1) - torch.nn.functional.one_hot(labels, 4096)
    assert (gradient.float() - exact).norm() < 0.01 * exact.norm()


@pytest.mark.slow
def test_compiled_blocks_compute_what_is_written():
    dtype = torch.bfloat16
    x, residual, weight, bias = tensors(dtype, (3, 5, H), (3, 5, H), (H,), (H,))
    check("rms_norm", lambda x, r, w: add_rms_norm(x, r, w, 1e-5), [x, residual, weight])
    check("layer_norm", lambda x, r, w, b: add_layer_norm(x, r, w, b, 1e-5), [x, residual, weight, bias])
    check("activation", lambda x: activate(x, "swiglu"), tensors(dtype, (4, 7, 20)))
    for length in (6, 9, 5, 30):  # one more compilation for any length
        by = rotation(RopeSettings(8, 10000.0), length, torch.device("cpu"))
        check("rope", lambda qkv, by=by: rotate_heads_(qkv * 1, by, [24, 8, 8], 8), tensors(dtype, (2, length, 40)))
        heads = tensors(dtype, (2, length, 64), (8,), (8,))
        check("qk_norm_rope", lambda qkv, q, k, by=by: qk_norm_rope(qkv, q, k, 1e-5, by, 4), heads)
