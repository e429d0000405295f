"""The kernels that round to 8 bits, against torch's operations, to the last bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.kernels import CUDA_DEVICES, DTYPES, random, set_backend
from steel_megatron.ops import backends, scaled_matmul
from steel_megatron.ops.native import library
from steel_megatron.ops.native import quantise as native
from steel_megatron.ops.scaled_matmul import E4M3, E5M2, largest_magnitude, quantise, quantise_both


@pytest.mark.parametrize("device", CUDA_DEVICES)
@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    exponent=st.integers(-30, 30),
    dtype=st.sampled_from(DTYPES),
    rounded=st.sampled_from([E4M3, E5M2]),
    strided=st.booleans(),
)
def test_both_ways_are_what_torch_makes(device, rows, columns, exponent, dtype, rounded, strided):
    exponent = exponent if dtype != torch.float16 else exponent // 4
    x = random((16 * rows, 16 * columns), dtype, device, rows, strided) * 2.0**exponent
    with backends.forced("quantise", "torch", device):
        amax = largest_magnitude(x)
        expected, expected_transposed = quantise_both(x, rounded, amax)
    with backends.forced("quantise", "steel_cuda", device):
        assert torch.equal(largest_magnitude(x), amax)
        both = quantise_both(x, rounded, amax)
        alone = quantise(x, rounded, amax)
    for found, wanted in zip((*both, alone), (expected, expected_transposed, expected), strict=True):
        assert torch.equal(found.data.view(torch.uint8), wanted.data.view(torch.uint8))
        assert torch.equal(found.scale, wanted.scale)


@pytest.mark.parametrize("device", CUDA_DEVICES)
@pytest.mark.parametrize("count", [1, 7, 256, 100_003])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_magnitude(device, count, dtype):
    x = random((count,), dtype, device, count)
    assert native.largest_magnitude(x) == x.abs().max().float()
    x[count // 2] = -1000.0
    assert native.largest_magnitude(x) == 1000.0
    x[count // 3] = float("nan")
    assert native.largest_magnitude(x).isnan()
    assert native.largest_magnitude(x[:0]) == 0.0


@pytest.mark.parametrize("device", CUDA_DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_that_does_not_begin_at_16_bytes(device, dtype):
    x = random((32 * 48 + 1,), dtype, device, 3)[1:].view(32, 48)
    amax, copy = native.largest_magnitude(x), x.clone()
    assert amax == x.abs().max().float()
    for found, wanted in zip(
        *(native.quantise(t, amax, E4M3, 448.0, 1e-30, True, True) for t in (x, copy)), strict=True
    ):
        assert torch.equal(found.float(), wanted.float())


@pytest.mark.parametrize("device", CUDA_DEVICES)
def test_the_kernel_refuses_what_is_not_aligned(device):
    x = random((32 * 48 + 1,), torch.bfloat16, device, 3)[1:]
    amax, rows, scale = native.largest_magnitude(x), torch.empty(32, 48, dtype=E4M3, device=device), torch.empty(1)
    with pytest.raises(RuntimeError, match="CUDA error 716"):
        library.call("quantise", x, x, amax, 448.0, 1e-30, 0, rows, None, scale.to(device), 32, 48)


@pytest.mark.parametrize("device", CUDA_DEVICES)
def test_nan_and_infinity_are_seen_in_the_product(device):
    for bad in (float("nan"), float("-inf")):
        x = torch.ones(32, 32, dtype=torch.bfloat16, device=device)
        x[3, 5] = bad
        with backends.forced("quantise", "steel_cuda", device):
            both = quantise_both(x, E4M3, largest_magnitude(x))
        assert all(rounded.values().isnan().any() for rounded in both)


@pytest.mark.parametrize("device", CUDA_DEVICES)
def test_the_operators_hold_to_their_fakes(device):
    x = random((32, 48), torch.bfloat16, device, 1)
    amax = native.largest_magnitude(x)
    torch.library.opcheck(native.largest_magnitude, (x,))
    torch.library.opcheck(native.quantise, (x, amax, E5M2, 57344.0, 2.0**-100, True, False))


def test_shapes_without_a_device():
    x, amax = torch.empty(32, 48, device="meta"), torch.empty((), device="meta")
    rows, columns, scale = native.quantise(x, amax, E4M3, 448.0, 2.0**-100, True, True)
    assert [(t.shape, t.dtype) for t in (rows, columns, scale)] == [
        ((32, 48), E4M3),
        ((48, 32), E4M3),
        ((), torch.float32),
    ]
    assert native.largest_magnitude(x).shape == ()
    assert native.quantise(x, amax, E5M2, 57344.0, 2.0**-100, False, True)[0].numel() == 0


def test_on_a_cpu_torch_rounds_whatever_is_asked_for(monkeypatch):
    set_backend(monkeypatch, "steel")
    monkeypatch.setattr(scaled_matmul, "native", None)
    x = random((16, 32), torch.bfloat16, "cpu", 1)
    assert quantise(x, E4M3, largest_magnitude(x)).data.dtype == E4M3


@pytest.mark.parametrize(("shape", "fits"), [((32, 48), True), ((32, 40), False), ((24, 48), False), ((48,), False)])
def test_sizes_that_the_kernels_take(shape, fits):
    assert native.fits(torch.empty(shape)) == fits
    assert not native.fits(torch.empty(shape, dtype=torch.float64))


def emulated_rounding(dtype: torch.dtype) -> list[Tensor]:
    x = random((272, 288), dtype, "cpu", 1)
    amax = native.largest_magnitude(x)
    return [amax, *native.quantise(x, amax, torch.float8_e4m3fn, 448.0, 1e-30, True, True)]
