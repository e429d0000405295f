"""The gradient of an embedding, deterministic on every backend.

Shapes: T tokens, V rows of the table, H hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.ops.backends import serves
from steel_megatron.ops.cases import Case, Setting
from steel_megatron.ops.formulas import no_result
from steel_megatron.ops.native import library
from steel_megatron.ops.native.library import DTYPES, call
from steel_megatron.ops.operations import KERNELS, Operation, declare


def add_rows(target_VH: Tensor, grad_TH: Tensor, ids_T: Tensor) -> None:
    """target[ids[t]] += grad[t] for all t, summed in fp32; the same bits at each call, for any number of threads.

    Args:
        target_VH: fp32, or of the gradient's type.
        ids_T: int64; those outside [0, V) count nowhere.
    """
    if serves("embedding_gradient", grad_TH) and target_VH.is_contiguous():
        embedding_gradient_(target_VH, grad_TH, ids_T)
        return
    here_T = (ids_T >= 0) & (ids_T < len(target_VH))
    values_TH = grad_TH.float().masked_fill(~here_T.unsqueeze(1), 0.0)
    own_T = ids_T.masked_fill(~here_T, 0)
    if target_VH.dtype == torch.float32:
        _add(target_VH, values_TH, own_T)
        return
    # Each row's sum is rounded once. How many rows there are is not asked, for the host would wait for the answer: sums
    # that no id has are 0, and go to row 0.
    sorted_T, order_T = own_T.sort(stable=True)
    number_T = torch.cat([sorted_T.new_zeros(min(len(sorted_T), 1)), sorted_T.diff().ne(0)]).cumsum(0)
    sums_TH = torch.zeros_like(values_TH)
    _add(sums_TH, values_TH[order_T], number_T)
    rows_T = torch.zeros_like(own_T).scatter_(0, number_T, sorted_T)
    _add(target_VH, sums_TH.to(target_VH.dtype), rows_T)


def _add(target_VH: Tensor, values_TH: Tensor, ids_T: Tensor) -> None:
    """In the order of t on a CPU, by sorted ids on a GPU, where index_add_ is not deterministic."""
    if target_VH.is_cuda:
        target_VH.index_put_((ids_T,), values_TH, accumulate=True)
    else:
        target_VH.index_add_(0, ids_T, values_TH)


# Sorted ids whose rows one block sums; as in csrc/ops/cuda/embedding.cu.
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


def _case(at: Setting) -> Case:
    assert at.model.vocab_size is not None
    grad_TH = at.random(at.batch * at.length, at.model.hidden_size)
    ids_T = torch.arange(at.batch * at.length, device=at.device) ** 2 % at.model.vocab_size
    target_VH = torch.zeros(at.model.vocab_size, at.model.hidden_size, device=at.device)

    def results() -> list[Tensor]:
        fresh_VH = torch.zeros_like(target_VH)
        add_rows(fresh_VH, grad_TH, ids_T)
        return [fresh_VH]

    return Case((grad_TH,), lambda: add_rows(target_VH, grad_TH, ids_T), results)


declare("embedding_gradient", Operation("embedding gradient", ("steel", "torch"), KERNELS, price=2.1, case=_case))
