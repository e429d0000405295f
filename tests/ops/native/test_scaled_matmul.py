"""8-bit products added to an fp32 matrix by cuBLASLt, or by the loop that stands in for it on the emulator."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from helpers.kernels import CUDA_DEVICES, EMULATED, random
from steel_megatron.ops import backends, scaled_matmul
from steel_megatron.ops.native import library, quantise
from steel_megatron.ops.native import scaled_matmul as native
from steel_megatron.ops.scaled_matmul import E4M3, E5M2, Scaled, add_product_, adds_inside, largest_magnitude


def rounded(shape: tuple[int, int], dtype: torch.dtype, device: str, seed: int) -> Scaled:
    x = random(shape, torch.float32, device, seed)
    with backends.forced("quantise", "torch", device):
        return scaled_matmul.quantise(x, dtype, largest_magnitude(x))


@pytest.fixture(autouse=True)
def _asked_anew():
    adds_inside.cache_clear()
    yield
    adds_inside.cache_clear()


@pytest.mark.parametrize("device", CUDA_DEVICES)
@pytest.mark.parametrize("formats", [(E4M3, E4M3), (E5M2, E4M3), (E4M3, E5M2)], ids=str)
@pytest.mark.parametrize("shape", [(16, 16, 16), (48, 32, 80), (16, 160, 48)])
def test_the_product_is_added_with_both_scales(device, formats, shape):
    if device == "cuda" and torch.cuda.get_device_capability() < scaled_matmul.LEAST_CAPABILITY:
        pytest.skip("this card has no 8-bit matmuls")
    m, n, k = shape
    a, b = rounded((m, k), formats[0], device, 1), rounded((n, k), formats[1], device, 2)
    total = random((m, n), torch.float32, device, 3)
    exact = total.double() + a.values().double() @ b.values().double().t()
    for times in (1, 2):  # the second call finds what the first one kept
        native.scaled_matmul_add_(total, a.data, b.data, a.scale, b.scale)
        torch.testing.assert_close(total.double(), exact, rtol=1e-5, atol=1e-5 * float(exact.abs().max()) * times)
        exact = exact + a.values().double() @ b.values().double().t()
    other = Scaled(a.data, a.scale * 2)  # scales are those of the call, not of the plan that is kept
    before = total.double()
    native.scaled_matmul_add_(total, other.data, b.data, other.scale, b.scale)
    exact = before + other.values().double() @ b.values().double().t()
    torch.testing.assert_close(total.double(), exact, rtol=1e-5, atol=1e-5 * float(exact.abs().max()))


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    called: list[str] = []
    call = library.call

    def counted(name: str, *arguments: object) -> None:
        called.append(name)
        call(name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(library, "call", counted)
    return called


def views(total: Tensor) -> dict[str, Tensor]:
    """Matrices of the size of ``total``: as a gradient buffer has them, and two that cuBLASLt does not take."""
    flat = total.new_zeros(4 + 2 * total.numel())
    wide = total.new_zeros(total.shape[0], 2 * total.shape[1])
    whole, shifted = (flat[first : first + total.numel()].view(total.shape) for first in (4, 1))
    return {"whole": whole, "shifted": shifted, "strided": wide[:, ::2]}


@pytest.mark.parametrize("device", [EMULATED])
@pytest.mark.parametrize(("kind", "inside"), [("whole", True), ("shifted", False), ("strided", False)])
def test_a_matrix_that_cublas_does_not_take_goes_by_way_of_a_temporary(monkeypatch, device, kind, inside):
    a, b = rounded((32, 48), E5M2, device, 1), rounded((64, 48), E4M3, device, 2)
    total = views(torch.ones(32, 64))[kind]
    total.fill_(1.0)
    called = count_calls(monkeypatch)
    with backends.forced("scaled_matmul_add", "steel_cuda", device):
        add_product_(total, a, b)
    assert ("scaled_matmul_add" in called) == inside
    exact = 1.0 + a.values().double() @ b.values().double().t()
    torch.testing.assert_close(total.double(), exact, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("device", [EMULATED])
def test_without_being_asked_for_torch_adds(monkeypatch, device):
    called = count_calls(monkeypatch)
    add_product_(torch.zeros(32, 32), rounded((32, 48), E4M3, device, 1), rounded((32, 48), E4M3, device, 2))
    assert called == []


def absent(*_: object) -> None:
    raise RuntimeError("scaled_matmul_add on cuda:0: CUDA error 801")


def wrong(total: Tensor, *_: object) -> None:
    total += 1.0


@pytest.mark.parametrize("device", [EMULATED])
@pytest.mark.parametrize(
    ("fault", "told"), [(absent, "CUDA error 801"), (wrong, "a product in float8_e4m3fn was wrong")]
)
def test_what_fails_its_self_test_is_not_used_and_that_is_said_once(monkeypatch, caplog, device, fault, told):
    a, b = rounded((32, 48), E4M3, device, 1), rounded((32, 48), E4M3, device, 2)
    monkeypatch.setattr(native, "scaled_matmul_add_", fault)
    with caplog.at_level(logging.WARNING), backends.forced("scaled_matmul_add", "steel_cuda", device):
        for _ in range(2):
            total = torch.zeros(32, 32)
            add_product_(total, a, b)
    exact = a.values().double() @ b.values().double().t()
    torch.testing.assert_close(total.double(), exact, rtol=1e-5, atol=1e-4)
    assert len(caplog.records) == 1
    assert told in caplog.text


@pytest.mark.parametrize("device", [EMULATED])
def test_what_cannot_be_is_refused(device):
    a, b = rounded((32, 48), E5M2, device, 1), rounded((32, 48), E4M3, device, 2)
    total = torch.zeros(32, 32)
    with pytest.raises(RuntimeError, match="CUDA error 801"):  # no card multiplies E5M2 by E5M2
        native.scaled_matmul_add_(total, a.data, a.data, a.scale, a.scale)
    with pytest.raises(RuntimeError, match="CUDA error 716"):
        native.scaled_matmul_add_(torch.zeros(1025)[1:].view(32, 32), a.data, b.data, a.scale, b.scale)
    with pytest.raises(RuntimeError, match="CUDA error 1 "):
        native.scaled_matmul_add_(torch.zeros(32, 24), a.data, b.data[:24], a.scale, b.scale)
    assert not total.any()


@pytest.mark.parametrize("device", [EMULATED])
def test_the_operator_holds_to_its_fake(device):
    a, b = rounded((32, 48), E4M3, device, 1), rounded((32, 48), E4M3, device, 2)
    arguments = (torch.zeros(32, 32), a.data, b.data, a.scale, b.scale)
    # The check of the schema compares tensors, which torch does not do in 8 bits.
    torch.library.opcheck(native.scaled_matmul_add_, arguments, test_utils=("test_faketensor",))


def test_the_gradients_of_rounded_layers_take_this_way():
    """quantise.fits and this agree on sizes, so that what is rounded by our kernel is added by it."""
    for shape in ((32, 48), (32, 40), (24, 48)):
        assert native.fits(torch.empty(shape)) == quantise.fits(torch.empty(shape))


def emulated_rounded_products(dtype: torch.dtype) -> list[Tensor]:
    a, b = (
        scaled_matmul.quantise(x, E4M3, x.abs().max().float())
        for x in (random((32, 48), dtype, "cpu", n) for n in (1, 2))
    )
    total = random((32, 32), torch.float32, "cpu", 3)
    with backends.forced("scaled_matmul_add", "steel_cuda", "cpu"):
        scaled_matmul.add_product_(total, a, b)
    return [total]
