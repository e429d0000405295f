"""AdamW and the sum of squares over many tensors, one launch each.

Tensors are cut into chunks of a fixed size, so that neither their number nor their sizes leave threads without work;
results do not depend on the number of threads.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from steel_megatron.ops.formulas import no_result
from steel_megatron.ops.native.library import DTYPES, call
from steel_megatron.ops.operations import KERNELS, Operation, declare

CHUNK = 16384  # elements; as in csrc/ops/cpu/kernels.h and cuda/optimizer.cu
MOMENTS = {torch.float32, torch.bfloat16}
PLACE = 4  # numbers


@torch.library.custom_op("steel::adamw_", mutates_args=("parameters", "masters", "exp_avgs", "exp_avg_sqs"))
def adamw_(
    parameters: Sequence[Tensor],
    masters: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    decays: Sequence[bool],
    places: Sequence[int],
    scale: Tensor,
    lr: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int,
) -> None:
    """One AdamW step (Loshchilov and Hutter, 2019); masters and gradients are fp32.

    Args:
        parameters: get the rounded masters in the same pass; empty where the masters are the parameters.
        exp_avgs: fp32 or bf16, as are ``exp_avg_sqs``. In bf16 what the step computed is rounded stochastically.
        decays: whether each tensor decays.
        places: :class:`~steel_megatron.ops.rounding.Place` of each tensor, four numbers; read for bf16 only, else it
            may be empty.
        scale: what gradients are multiplied by first: fp64 scalar, read on the device; not a number: nothing changes.
        step: number of this step, from 1.
    """
    if not masters:
        return
    states = [masters, grads, exp_avgs, exp_avg_sqs]
    for tensors, dtypes in zip(states, [{torch.float32}] * 2 + [MOMENTS] * 2, strict=True):
        _check(tensors, masters, dtypes)
    if parameters:
        _check(parameters, masters, set(DTYPES))
    own = [parameter.data_ptr() for parameter in parameters] or [0] * len(masters)
    addresses = [[tensor.data_ptr() for tensor in tensors] for tensors in states]
    sizes = [master.numel() for master in masters]
    placed = zip(*[iter(places or [0] * PLACE * len(masters))] * PLACE, strict=True)
    rows = zip(own, *addresses, sizes, map(int, decays), placed, strict=True)
    table, chunks = _tables(tuple((*row, *place) for *row, place in rows), 5, masters[0].device)
    like = parameters[0] if parameters else masters[0]
    if scale.dtype != torch.float64 or scale.device != masters[0].device:
        raise ValueError(f"a scale of {scale.dtype} on {scale.device}: it is fp64 on {masters[0].device}")
    numbers = (lr, beta1, beta2, epsilon, weight_decay, 1.0 - beta1**step, 1.0 - beta2**step)
    moments = (DTYPES[exp_avgs[0].dtype], DTYPES[exp_avg_sqs[0].dtype])
    call("adamw", like, *moments, table, chunks, len(chunks), scale, *map(float, numbers), step)


@torch.library.custom_op("steel::sum_of_squares", mutates_args=())
def sum_of_squares(tensors: Sequence[Tensor]) -> Tensor:
    """fp64 scalar on the device; not finite where an element is not. Nothing waits for the device.

    The tensors are fp32; there is at least one.
    """
    _check(tensors, tensors, {torch.float32})
    first = tensors[0]
    table, chunks = _tables(tuple((t.data_ptr(), t.numel()) for t in tensors), 1, first.device)
    partial = torch.empty(len(chunks), dtype=torch.float64, device=first.device)
    total = torch.empty((), dtype=torch.float64, device=first.device)
    call("sum_of_squares", first, table, chunks, len(chunks), partial, total)
    return total


@functools.lru_cache(maxsize=16)
def _tables(rows: tuple[tuple[int, ...], ...], size_column: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The rows, and (tensor, first element) of each chunk, on the device; the same tensors come at every step."""
    chunks = [(number, start) for number, row in enumerate(rows) for start in range(0, row[size_column], CHUNK)]
    tables = torch.tensor(rows, dtype=torch.int64), torch.tensor(chunks, dtype=torch.int64).view(-1, 2)
    return tables[0].to(device), tables[1].to(device)


def _check(tensors: Sequence[Tensor], like: Sequence[Tensor], dtypes: set[torch.dtype]) -> None:
    if len(tensors) != len(like):
        raise ValueError(f"{len(tensors)} tensors beside {len(like)}")
    for tensor, other in zip(tensors, like, strict=True):
        fits = tensor.is_contiguous() and tensor.numel() == other.numel() and tensor.device == like[0].device
        if not fits or tensor.dtype not in dtypes or tensor.dtype != tensors[0].dtype:
            raise ValueError(
                f"a tensor of {tuple(tensor.shape)} {tensor.dtype} on {tensor.device} beside {tuple(other.shape)}: "
                "tensors are contiguous, of one type, and those of a parameter have one size"
            )


adamw_.register_fake(no_result)
sum_of_squares.register_fake(lambda tensors: tensors[0].new_empty((), dtype=torch.float64))

declare("adamw", Operation("optimizer", ("steel", "apex", "torch"), KERNELS))
declare("gradient_norm", Operation("gradient norm", ("steel", "torch"), KERNELS))
