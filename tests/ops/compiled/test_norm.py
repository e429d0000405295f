"""Compiled RMSNorm and LayerNorm: the numbers of the references, alone and with the residual addition."""

from __future__ import annotations

import pytest
import torch

from helpers.compiled_ops import H, check, check_fakes, dtypes, tensors
from steel_megatron.ops.compiled import norm
from steel_megatron.ops.norm import add_layer_norm, add_rms_norm, layer_norm, rms_norm, rms_norm_beside


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
@pytest.mark.parametrize("used", [0, 1], ids=["norm", "sum"])
def test_one_of_two_results_may_be_left_unused(as_written, dtype, used):
    x, residual, weight, bias = tensors(dtype, (3, 5, H), (3, 5, H), (H,), (H,))
    check("rms_norm", lambda x, r, w: (add_rms_norm(x, r, w, 1e-5)[used], w.sum()), [x, residual, weight])
    check(
        "layer_norm",
        lambda x, r, w, b: (add_layer_norm(x, r, w, b, 1e-5)[used], w.sum(), b.sum()),
        [x, residual, weight, bias],
    )


def test_a_row_is_normed_by_itself_and_one_of_zeros_stays_zero(as_written):
    """A number that is not finite costs its own row; the sum's is one addition in the type of the input."""
    x, weight = tensors(torch.bfloat16, (4, H), (H,))
    x[1], x[2, 3] = 0.0, torch.nan
    y, total, rstd = norm.add_rms_norm(x, x, weight, 1e-5)
    assert torch.equal(total[[0, 1, 3]], 2 * x[[0, 1, 3]])
    assert not y[1].any()
    assert rstd[1] == pytest.approx(1e-5**-0.5)
    assert y[2].isnan().all()
    assert y[[0, 1, 3]].isfinite().all()


def test_fakes_say_what_comes_out(as_written):
    x, weight = tensors(torch.bfloat16, (2, 3, H), (H,))
    statistics = torch.rand(6)
    check_fakes(
        (norm.rms_norm, (x, weight, 1e-5)),
        (norm.add_rms_norm, (x, x * 2, weight, 1e-5)),
        (norm.rms_norm_backward, (x, None, x, weight, statistics)),
        (norm.layer_norm, (x, weight, weight, 1e-5)),
        (norm.add_layer_norm, (x, x * 2, weight, weight, 1e-5)),
        (norm.layer_norm_backward, (x, x, x, weight, statistics, statistics)),
        (norm.rms_norm, (x[:0], weight, 1e-5)),
    )


@pytest.mark.slow
def test_what_is_compiled_computes_what_is_written():
    x, residual, weight, bias = tensors(torch.bfloat16, (3, 5, H), (3, 5, H), (H,), (H,))
    check("rms_norm", lambda x, r, w: add_rms_norm(x, r, w, 1e-5), [x, residual, weight])
    check("layer_norm", lambda x, r, w, b: add_layer_norm(x, r, w, b, 1e-5), [x, residual, weight, bias])
