"""8-bit tensors and their product: rounding, scale, the matmul against fp64, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steel_megatron.config import ConfigError
from steel_megatron.ops.scaled_matmul import (
    E4M3,
    E5M2,
    LARGEST,
    Scaled,
    check_device,
    largest_magnitude,
    multiply,
    multiply_reference,
    quantise,
    quantise_both,
    support,
)

HALF_STEP = {E4M3: 2.0**-4, E5M2: 2.0**-3}  # largest relative error of rounding to 3 and 2 bits
LEAST_NORMAL = {E4M3: 2.0**-6, E5M2: 2.0**-14}


def random(*shape: int, seed: int, exponent: int = 0, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (x * 2.0**exponent).to(dtype)


@pytest.mark.parametrize("dtype", [E4M3, E5M2])
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999),
    exponent=st.integers(-60, 60),
    given_as=st.sampled_from([torch.bfloat16, torch.float32]),
    rows=st.integers(1, 40),
)
def test_a_tensor_is_rounded_once_to_the_nearest_of_its_scaled_grid(dtype, seed, exponent, given_as, rows):
    x = random(rows, 48, seed=seed, exponent=exponent, dtype=given_as)
    rounded = quantise(x, dtype, largest_magnitude(x))
    assert rounded.data.dtype == dtype
    assert rounded.data.float().abs().max() == LARGEST[dtype]
    exact, scale = x.double(), rounded.scale.double()
    error = (rounded.data.double() * scale - exact).abs()
    least = LEAST_NORMAL[dtype] * scale  # below it the grid is even
    assert (error <= (1 + 1e-6) * HALF_STEP[dtype] * exact.abs().clamp(min=least)).all()


def test_a_zero_tensor_stays_zero_and_what_is_not_finite_is_seen():
    zero = torch.zeros(16, 16, dtype=torch.bfloat16)
    assert torch.equal(quantise(zero, E4M3, largest_magnitude(zero)).values(), zero.float())
    for bad in (float("nan"), float("inf"), float("-inf")):
        x = torch.ones(16, 16, dtype=torch.bfloat16)
        x[3, 5] = bad
        rounded = quantise(x, E4M3, largest_magnitude(x))
        assert multiply(rounded, rounded, torch.bfloat16)[3].isnan().any()


def test_strided_tensors_are_read_where_they_lie_and_both_ways_are_one_rounding():
    x = random(32, 3, 16, seed=1)[:, 1]
    rounded, transposed = quantise_both(x, E5M2, largest_magnitude(x))
    assert rounded.data.is_contiguous()
    assert transposed.data.is_contiguous()
    assert torch.equal(rounded.values(), quantise(x.contiguous(), E5M2, largest_magnitude(x)).values())
    assert torch.equal(transposed.values(), rounded.values().t())


@pytest.mark.parametrize("left", [E4M3, E5M2])
@pytest.mark.parametrize("out", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(16, 16, 16), (33, 48, 80), (1, 16, 256), (128, 32, 16)])
def test_the_product_is_exact_up_to_its_own_rounding(left, out, shape):
    m, n, k = shape
    x, w = random(m, k, seed=1, exponent=-9), random(n, k, seed=2, exponent=3)
    a, b = quantise(x, left, largest_magnitude(x)), quantise(w, E4M3, largest_magnitude(w))
    exact = a.data.double() @ b.data.double().t() * (a.scale.double() * b.scale.double())
    tolerance = {torch.bfloat16: 2.0**-8, torch.float32: 1e-6}[out]
    largest = float(exact.abs().max())
    for product in (multiply(a, b, out), multiply_reference(a, b, out)):
        assert product.dtype == out
        torch.testing.assert_close(product.double(), exact, rtol=tolerance, atol=1e-6 * largest)


def test_sizes_that_a_gpu_refuses_are_refused_everywhere():
    def ones(rows: int, columns: int) -> Scaled:
        return Scaled(torch.ones(rows, columns).to(E4M3), torch.ones(()))

    multiply(ones(5, 16), ones(16, 16), torch.float32)  # rows of the first may be any
    for a, b in ((ones(16, 24), ones(16, 24)), (ones(16, 16), ones(24, 16))):
        with pytest.raises(ValueError, match="multiples of 16"):
            multiply(a, b, torch.float32)


@pytest.mark.parametrize(("capability", "refused"), [((8, 0), True), ((8, 9), False), ((9, 0), False)])
def test_a_gpu_without_8_bit_tensor_cores_is_refused(monkeypatch, capability, refused):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A100")
    check_device(torch.device("cpu"))
    if refused:
        with pytest.raises(ConfigError, match=r"A100, compute capability 8.0(.|\n)*8.9"):
            check_device(torch.device("cuda", 0))
    else:
        check_device(torch.device("cuda", 0))


@pytest.mark.parametrize(
    ("capability", "words"), [(None, "slower than bf16"), ((8, 6), "not on compute capability 8.6"), ((9, 0), "torch")]
)
def test_doctor_is_told_what_the_machine_can(monkeypatch, capability, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert words in support()
