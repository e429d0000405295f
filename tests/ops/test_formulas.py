"""What both forms of an operation register: fakes of the right shapes, and gradients of what is used alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from helpers.kernels import needs_cpu_kernels
from steel_megatron.ops.compiled import activation as compiled_activation
from steel_megatron.ops.compiled import norm as compiled_norm
from steel_megatron.ops.compiled import qk_norm_rope as compiled_heads
from steel_megatron.ops.compiled import rope as compiled_rope
from steel_megatron.ops.formulas import activated_shape, normed_heads, row_statistics
from steel_megatron.ops.native import activation, norm, qk_norm_rope, rope

pytestmark = needs_cpu_kernels
BOTH = {
    "native": (norm, activation, rope, qk_norm_rope),
    "compiled": (compiled_norm, compiled_activation, compiled_rope, compiled_heads),
}
both = pytest.mark.parametrize("form", BOTH)


@pytest.fixture(autouse=True)
def as_written() -> Iterator[None]:
    with torch.compiler.set_stance("force_eager"):
        yield


def x(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


@both
def test_fakes_have_the_shapes_of_results(form: str) -> None:
    norms, activations, turns, heads = BOTH[form]
    angles = x(1, 3, 1, 2), x(1, 3, 1, 2)
    qkv = x(2, 3, 8 * 4)
    calls = [
        (norms.rms_norm, (x(2, 3, 8), x(8), 1e-5)),
        (norms.add_layer_norm, (x(2, 3, 8), x(2, 3, 8), x(8), x(8), 1e-5)),
        (norms.layer_norm_backward, (x(2, 3, 8), None, x(2, 3, 8), x(8), x(6), x(6))),
        (activations.activation, (x(2, 3, 8), "silu", True)),
        (activations.activation_backward, (x(2, 3, 4), x(2, 3, 8), "silu", True)),
        (turns.rope, (x(2, 3, 4, 4), *angles, False)),
        (turns.rope_heads_backward, (x(2, 3, 4, 4), x(2, 3, 2, 4), x(2, 3, 2, 4), *angles)),
        (heads.qk_norm_rope, (qkv, x(4), x(4), *angles, 4, 1e-6)),
    ]
    for operation, given in calls:
        real = operation(*given)
        with FakeTensorMode() as mode:
            fake = operation(*(mode.from_tensor(value) if isinstance(value, Tensor) else value for value in given))
        for one, other in zip(*((r if isinstance(r, tuple) else (r,)) for r in (real, fake)), strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype)


@both
def test_a_sum_that_alone_is_used_passes_its_gradient_on(form: str) -> None:
    leaves = [value.requires_grad_() for value in (x(2, 8), x(2, 8), x(8))]
    _, total, _ = BOTH[form][0].add_rms_norm(*leaves, 1e-5)
    grads = torch.autograd.grad(total.sum(), leaves, allow_unused=True)
    assert all(torch.equal(grad, torch.ones(2, 8)) for grad in grads[:2])
    assert grads[2] is None or not grads[2].any()


def test_shapes() -> None:
    assert activated_shape(x(2, 6), gated=False) == [2, 6]
    assert activated_shape(x(2, 6), gated=True) == [2, 3]
    with pytest.raises(ValueError, match="even number"):
        activated_shape(x(2, 5), gated=True)
    assert row_statistics(x(2, 3, 8).half()).shape == (6,)
    assert [tuple(part.shape) for part in normed_heads(x(2, 3, 32), x(4), 4)] == [(2, 3, 6, 4), (2, 3, 6)]
