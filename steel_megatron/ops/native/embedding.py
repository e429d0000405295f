"""The gradient of an embedding: rows of a gradient added to the rows of a table that their ids name.

Shapes: T tokens, V rows of the table, H hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.ops.native import library
from steel_megatron.ops.native.library import DTYPES, call, no_result

# Sorted ids whose rows one block sums; as in csrc/ops/embedding.cu.
PART = 32


@torch.library.custom_op("steel::embedding_gradient_", mutates_args=("target_VH",))
def embedding_gradient_(target_VH: Tensor, grad_TH: Tensor, ids_T: Tensor) -> None:
    """target[ids[t]] += grad[t] for all t, summed in fp32 in a fixed order; ids outside [0, V) count nowhere.

    Deterministic: the same bits at each call, on a CPU for any number of threads. ``target_VH`` is fp32 or of the
    gradient's type.
    """
    if target_VH.dtype not in (torch.float32, grad_TH.dtype):
        raise ValueError(f"a target of {target_VH.dtype} for a gradient of {grad_TH.dtype}: it is fp32 or of its type")
    if ids_T.dtype != torch.int64 or grad_TH.shape != (len(ids_T), target_VH.shape[1]):
        raise ValueError(
            f"ids of {ids_T.dtype} {tuple(ids_T.shape)} with a gradient of {tuple(grad_TH.shape)} for a table of "
            f"{tuple(target_VH.shape)}: ids are int64, and each has a row of the gradient"
        )
    grad_TH = grad_TH.contiguous()
    sorted_T, order_T = ids_T.sort(stable=True)
    partial = None  # on a GPU: sums of ids that go on from one part into the next
    if library.kind(grad_TH.device) == "cuda":
        partial = grad_TH.new_empty(-(-len(ids_T) // PART), 2, grad_TH.shape[1], dtype=torch.float32)
    tensors = (target_VH, grad_TH, sorted_T, order_T, partial)
    call("embedding_gradient", grad_TH, DTYPES[target_VH.dtype], *tensors, len(ids_T), *target_VH.shape)


embedding_gradient_.register_fake(no_result)
