"""Matmuls of 8-bit floating-point tensors, each with one scale that lets its largest element fill the format.

A tensor x is stored as data · scale: data in E4M3 (largest value 448) or E5M2 (57344), scale = amax / largest value in
fp32, with amax = max |x| of the very tensor (per-tensor current scaling; the formats: Micikevicius et al., 2022). It is
rounded once.

torch.nn.functional.scaled_mm is the only torch function used, here and nowhere else. On a GPU it takes the first matrix
by rows and the second by columns, with sizes that are multiples of 16; what is passed here always is so, on a CPU too.
It can neither write to a matrix that is there nor add to one; on a GPU weight gradients go to cuBLASLt itself, which
adds to the fp32 gradient inside the matmul, where a product per device was right to the last bit.

Shapes: T rows and C columns of a tensor; M and N rows of a product's two matrices, K the dimension summed over.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import ScalingType, scaled_mm

from steel_megatron.config import ConfigError
from steel_megatron.ops.backends import pick
from steel_megatron.ops.cases import Case, Setting
from steel_megatron.ops.native import quantise as native
from steel_megatron.ops.native import scaled_matmul as native_matmul
from steel_megatron.ops.operations import ON_GPU, Operation, declare

log = logging.getLogger(__name__)
E4M3 = torch.float8_e4m3fn
E5M2 = torch.float8_e5m2
LARGEST = {E4M3: 448.0, E5M2: 57344.0}
MULTIPLE = 16  # of every size, as the GPU's matmul demands

# Below it a tensor counts as zero: its scale would leave fp32.
SMALLEST_AMAX = 2.0**-100
LEAST_CAPABILITY = (8, 9)


@dataclass(frozen=True)
class Scaled:
    """A tensor in 8 bits: ``data`` (contiguous) times ``scale`` (fp32, no dimensions)."""

    data: Tensor
    scale: Tensor

    def transposed(self) -> Scaled:
        """(T, C) → (C, T), copied: both matrices of a product lie along the dimension that is summed over."""
        # As bytes, because not every device copies 8-bit floats through its fast path.
        data = self.data.view(torch.uint8).t().contiguous().view(self.data.dtype)
        return Scaled(data, self.scale)

    def values(self) -> Tensor:
        """What it stands for, in fp32."""
        return self.data.float() * self.scale


def largest_magnitude(x_TC: Tensor) -> Tensor:
    """max |x| as fp32 without dimensions; NaN if there is one. Nothing waits for the device."""
    if pick("quantise", x_TC) == "steel_cuda":
        return native.largest_magnitude(x_TC)
    low, high = torch.aminmax(x_TC)
    return torch.maximum(-low, high).float()


def quantise(x_TC: Tensor, dtype: torch.dtype, amax: Tensor) -> Scaled:
    """``x`` in 8 bits, with the scale that ``amax`` (at least its largest magnitude) gives; NaN and infinity stay."""
    if pick("quantise", x_TC) == "steel_cuda":
        data, _, scale = native.quantise(x_TC, amax, dtype, LARGEST[dtype], SMALLEST_AMAX, True, False)
        return Scaled(data, scale)
    amax = amax.clamp(min=SMALLEST_AMAX)
    data = torch.empty(x_TC.shape, dtype=dtype, device=x_TC.device)
    # One pass: the product is fp32, because the factor has a dimension, and is rounded when it is written. It does not
    # go beyond the largest value by more than fp32's rounding, so nothing has to be cut off.
    # Tensor by tensor: where one of them is a number, torch divides by way of a rounded reciprocal, the number's or the
    # tensor's, which gives other bits than a division, and on a GPU others than on a CPU.
    largest = torch.full_like(amax, LARGEST[dtype])
    torch.mul(x_TC, (largest / amax).reshape(1), out=data)
    return Scaled(data, amax / largest)


def quantise_both(x_TC: Tensor, dtype: torch.dtype, amax: Tensor) -> tuple[Scaled, Scaled]:
    """(:func:`quantise`, its transpose), for a tensor that takes part in two products."""
    if pick("quantise", x_TC) == "steel_cuda":
        by_row, by_column, scale = native.quantise(x_TC, amax, dtype, LARGEST[dtype], SMALLEST_AMAX, True, True)
        return Scaled(by_row, scale), Scaled(by_column, scale)
    rounded = quantise(x_TC, dtype, amax)
    return rounded, rounded.transposed()


def multiply(a_MK: Scaled, b_NK: Scaled, dtype: torch.dtype, *, fast: bool = False) -> Tensor:
    """a bᵀ, (M, N), in ``dtype``; products are exact and summed in fp32.

    ``fast``: Hopper's tensor cores keep fewer bits of the running sum, which is enough for activations.
    """
    if any(size % MULTIPLE for size in (*b_NK.data.shape, a_MK.data.shape[1])):
        shapes = f"{tuple(a_MK.data.shape)} by {tuple(b_NK.data.shape)} transposed"
        raise ValueError(f"an 8-bit matmul of {shapes}: sizes are multiples of {MULTIPLE}")
    if not a_MK.data.is_cuda and not _cpu_multiplies():
        return multiply_reference(a_MK, b_NK, dtype)
    return scaled_mm(
        a_MK.data,
        b_NK.data.t(),
        a_MK.scale,
        ScalingType.TensorWise,
        b_NK.scale,
        ScalingType.TensorWise,
        output_dtype=dtype,
        use_fast_accum=fast and a_MK.data.is_cuda,
    )


def add_product_(total_MN: Tensor, a_MK: Scaled, b_NK: Scaled) -> None:
    """total += a bᵀ, summed in fp32: inside the matmul where the device does that, else by way of an fp32 temporary."""
    inside = pick("scaled_matmul_add", total_MN) == "steel_cuda" and native_matmul.fits(total_MN)
    if inside and adds_inside(total_MN.device):
        native_matmul.scaled_matmul_add_(total_MN, a_MK.data, b_NK.data, a_MK.scale, b_NK.scale)
    else:
        total_MN.add_(multiply(a_MK, b_NK, torch.float32))


@functools.cache
def adds_inside(device: torch.device) -> bool:
    """Whether cuBLASLt adds 8-bit products to an fp32 matrix on a device, tried out on numbers whose sum is exact.

    Where it does not, that is said, once on the first rank.
    """
    why = _why_not_inside(device)
    if why and (not dist.is_initialized() or dist.get_rank() == 0):
        log.warning(
            "8-bit weight gradients go through an fp32 temporary on %s, which moves 12 more bytes per weight and "
            "micro-batch: %s",
            *(device, why),
        )
    return not why


def _why_not_inside(device: torch.device) -> str:
    """What a product of small whole numbers, exact in every order, says against it; empty: nothing."""
    numbers = torch.arange(48 * 64, device=device)
    b_NK = Scaled((numbers % 13 - 6).view(48, 64).float().to(E4M3), torch.full((), 0.5, device=device))
    for dtype in LARGEST:
        a_MK = Scaled((numbers[: 32 * 64] % 5 - 2).view(32, 64).float().to(dtype), torch.full((), 4.0, device=device))
        total_MN = (numbers[: 32 * 48] % 7).view(32, 48).float()
        terms = a_MK.values()[:, None] * b_NK.values()  # not a matmul: TF32 would do, but need not be asked
        expected_MN = total_MN + terms.sum(-1)
        try:
            native_matmul.scaled_matmul_add_(total_MN, a_MK.data, b_NK.data, a_MK.scale, b_NK.scale)
        except RuntimeError as error:
            return str(error)
        if not (total_MN == expected_MN).all():
            return f"a product in {str(dtype).removeprefix('torch.')} was wrong"
    return ""


def multiply_reference(a_MK: Scaled, b_NK: Scaled, dtype: torch.dtype) -> Tensor:
    """What :func:`multiply` computes, in fp32 arithmetic."""
    product_MN = a_MK.data.float() @ b_NK.data.float().t()
    return (product_MN * (a_MK.scale * b_NK.scale)).to(dtype)


def support() -> str:
    """Whether this machine multiplies in 8 bits, in words."""
    if not torch.cuda.is_available():
        how = "torch" if _cpu_multiplies() else "fp32 arithmetic"
        return f"by {how} on the CPU, slower than bf16: --fp8-format is for trying out here"
    capability = torch.cuda.get_device_capability()
    if capability < LEAST_CAPABILITY:
        return f"not on compute capability {capability[0]}.{capability[1]}: they need 8.9"
    return "torch scaled_mm (where --fp8-format asks)"


def check_device(device: torch.device) -> None:
    """Raises :class:`ConfigError` on a GPU without 8-bit tensor cores."""
    if device.type != "cuda":
        return
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        raise ConfigError(
            f"--fp8-format on {torch.cuda.get_device_name(device)}, compute capability {capability[0]}.{capability[1]}",
            rule="8-bit matmuls need 8.9 (Ada, Hopper or newer)",
            fix="leave out --fp8-format",
        )


@functools.cache
def _cpu_multiplies() -> bool:
    """Whether this build of torch has the matmul for CPUs."""
    one = torch.ones(())
    eye = torch.eye(MULTIPLE).to(E4M3)
    kind = ScalingType.TensorWise
    try:
        product = scaled_mm(eye.to(E5M2), eye.t(), one, kind, one, kind, output_dtype=torch.float32)
    except (RuntimeError, NotImplementedError):
        return False
    return bool((product == torch.eye(MULTIPLE)).all())


def _case(at: Setting) -> Case:
    """The gradient of the MLP's inner channels, which is rounded both ways."""
    x_TC = at.random(at.batch * at.length, at.model.ffn_hidden_size)

    def run() -> tuple[Scaled, Scaled]:
        return quantise_both(x_TC, E5M2, largest_magnitude(x_TC))

    return Case((x_TC,), run, lambda: [rounded.values() for rounded in run()])


declare(
    "quantise",
    Operation("rounding to 8 bits", ("steel_cuda", "torch"), {"cuda": {"steel_cuda": ON_GPU}}, case=_case),
)
declare(
    "scaled_matmul_add",
    Operation(
        "8-bit weight gradient",
        ("steel_cuda", "torch"),
        {"cuda": {"steel_cuda": "cuBLASLt adds to the fp32 gradient inside the matmul, where torch makes a temporary"}},
        measured=False,
    ),
)
