"""The gradient of an embedding, deterministic on every backend.

Shapes: T tokens, V rows of the table, H hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.ops.backends import serves
from steel_megatron.ops.native.embedding import embedding_gradient_


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
