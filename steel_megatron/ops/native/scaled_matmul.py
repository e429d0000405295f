"""8-bit products that cuBLASLt adds to an fp32 matrix inside the matmul, which torch's ``scaled_mm`` cannot.

Shapes: a (M, K), b (N, K), total (M, N).
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.ops.formulas import no_result
from steel_megatron.ops.native import library

E5M2 = torch.float8_e5m2
MULTIPLE = 16  # of every size, and bytes of every address
WORKSPACE_BYTES = 32 << 20  # what NVIDIA advises for Hopper


def fits(total_MN: Tensor) -> bool:
    """Whether a product can be added to this matrix where it lies."""
    start = total_MN.storage_offset() * total_MN.element_size()  # memory itself begins at a multiple
    sizes = total_MN.dim() == 2 and not any(size % MULTIPLE for size in total_MN.shape)
    return total_MN.dtype == torch.float32 and sizes and total_MN.is_contiguous() and start % MULTIPLE == 0


@torch.library.custom_op("steel::scaled_matmul_add_", mutates_args=("total_MN",))
def scaled_matmul_add_(total_MN: Tensor, a_MK: Tensor, b_NK: Tensor, a_scale: Tensor, b_scale: Tensor) -> None:
    """total += a bᵀ · scales, summed in fp32; a and b contiguous in E4M3 or one of them in E5M2, scales fp32 numbers.

    Raises:
        RuntimeError: there is no cuBLASLt here, or none that does this ("CUDA error 801").
    """
    workspace = total_MN.new_empty(WORKSPACE_BYTES, dtype=torch.uint8)
    library.call(
        "scaled_matmul_add",
        total_MN,
        a_MK,
        b_NK,
        a_scale,
        b_scale,
        total_MN,
        workspace,
        WORKSPACE_BYTES,
        int(a_MK.dtype == E5M2),
        int(b_NK.dtype == E5M2),
        *total_MN.shape,
        a_MK.shape[1],
        total_MN.device.index or 0,
    )


scaled_matmul_add_.register_fake(no_result)
