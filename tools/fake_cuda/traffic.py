"""What an operation computes and moves, from its arguments' shapes alone.

Each tensor counts once: what is read, the elements that its strides reach; what is written, all. A kernel that comes
back to its input (a softmax over rows that no cache holds) moves more, and one whose input is still in a cache less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from steel_megatron.ops.native.scaled_matmul import WORKSPACE_BYTES

DEVICE = "cuda"  # kind of the device that is watched; tests set "cpu", to compare with runs that compute
# They make a tensor's frame and touch no element.
FREE = frozenset(
    f"aten.{name}.default" for name in ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")
) | {"aten.empty.memory_format", "aten._unsafe_view.default", "aten.lift_fresh.default", "aten.set_.source_Storage"}
# They write a tensor without reading what was there.
OVERWRITING = ("aten.copy_.", "aten.fill_.", "aten.zero_.")
# Arguments that our own operations write without reading them.
OVERWRITTEN = {"steel.adamw_.default": ("parameters",)}
# They read of a table only the rows that they return.
LOOKUPS = ("aten.embedding.", "aten.index.Tensor", "aten.index_select.", "aten.gather.")

# Matmuls, and the place of the first matrix among their arguments.
MATMULS = {"aten.mm.": 0, "aten.bmm.": 0, "aten.addmm.": 1, "aten.addmm_.": 1, "aten._scaled_mm": 0}
# cuBLASLt's 8-bit product added to the first argument: of the second and the transpose of the third.
ADDED_8BIT = "steel.scaled_matmul_add_."


def on_device(value: Any) -> bool:
    """Whether a value is a tensor on the device that is watched."""
    return isinstance(value, Tensor) and value.device.type == DEVICE


def traffic(function: Any, name: str, args: Any, kwargs: Any, result: Any) -> tuple[int, int]:
    """Bytes that are (read, written) on the device."""
    read, written, own = 0, 0, set()
    arguments = function._schema.arguments
    given = list(zip(arguments, args, strict=False))
    given += [(argument, kwargs[argument.name]) for argument in arguments[len(args) :] if argument.name in kwargs]
    for argument, value in given:
        tensors = [leaf for leaf in tree_leaves(value) if on_device(leaf)]
        size = sum(map(reached, tensors))
        if argument.alias_info is not None and argument.alias_info.is_write:
            written += size
            own |= {id(tensor) for tensor in tensors}
            unread = argument.is_out or name.startswith(OVERWRITING) or argument.name in OVERWRITTEN.get(name, ())
            read += 0 if unread else size
        else:
            read += size
    outputs = [leaf for leaf in tree_leaves(result) if on_device(leaf) and id(leaf) not in own]
    written += sum(map(reached, outputs))
    if name.startswith("aten.logsumexp."):
        # amax, the difference, its exp and their sum: four kernels, with two temporaries of the input's size.
        return 4 * read, written + 2 * read
    if name.startswith(("steel.qk_norm_rope.", "steel_compiled.qk_norm_rope.")):
        read -= reached(args[0]) - reached(result[0])  # the values, which have no norm and are not turned
    elif name.startswith(("steel.qk_norm_rope_backward.", "steel_compiled.qk_norm_rope_backward.")):
        read -= reached(args[2])  # their gradient is a copy
    elif name.startswith(LOOKUPS):
        indices = [leaf for leaf in tree_leaves(args[1:]) if on_device(leaf)]
        read = written + sum(map(reached, indices))
    elif name.startswith(("steel.embedding_gradient_", "aten.index_put_", "aten.index_add_", "aten.scatter_add_")):
        table, *others = [leaf for leaf in tree_leaves((args, kwargs)) if on_device(leaf)]
        rows = min(touched(others), reached(table) // table.element_size()) * table.element_size()
        read, written = rows + sum(map(reached, others)), rows
    return read, written


def touched(others: list[Tensor]) -> int:
    """Elements of a table that an operation adds to: as many as its largest other argument has."""
    return max(tensor.numel() for tensor in others)


def reached(tensor: Tensor) -> int:
    """Bytes of the different elements of a tensor: those of an expanded dimension are one."""
    elements = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= size if stride or size == 0 else 1
    return elements * tensor.element_size()


def flops_of(name: str, args: Any, documents: Mapping[int, Sequence[int]] = MappingProxyType({})) -> float:
    """Floating-point operations of a matmul (2 M K N), or of an attention to the past; 0 of anything else.

    A backward pass of attention has five products of the two of its forward pass: it makes the scores again.

    Args:
        documents: lengths by the storage of the tensor that says where packed documents start.

    Raises:
        TypeError: a matmul of different types, which a GPU refuses and a FakeTensor does not.
    """
    if name.startswith(ADDED_8BIT):
        return 2.0 * args[1].numel() * args[2].shape[0]
    place = next((place for start, place in MATMULS.items() if name.startswith(start)), None)
    if place is not None:
        left, right = args[place], args[place + 1]
        if left.dtype != right.dtype and left.itemsize != 1:
            raise TypeError(f"{name} of {left.dtype} by {right.dtype}: both have one type")
        return 2.0 * left.numel() * right.shape[-1]
    if name.startswith("aten._scaled_dot_product_"):
        backward = "_backward" in name
        query, key = args[1:3] if backward else args[:2]
        batch, heads, length, size = query.shape
        return (5.0 if backward else 2.0) * batch * heads * length * key.shape[2] * size
    if name.startswith("torch_attn._varlen_attn"):
        backward = "_backward" in name
        query, starts = (args[1], args[6]) if backward else (args[0], args[3])
        _, heads, size = query.shape
        lengths = documents.get(starts.untyped_storage()._cdata, ())
        return (5.0 if backward else 2.0) * heads * size * sum(length**2 for length in lengths)
    return 0.0


def accumulated_bytes(name: str, args: Any, kwargs: Any) -> int:
    """Bytes read and written of the matrix that a matmul adds its product to in place; 0 for other matmuls."""
    if name.startswith(ADDED_8BIT):
        return 2 * reached(args[0])
    if not name.startswith("aten.addmm"):
        return 0
    target = args[0] if name.startswith("aten.addmm_") else kwargs.get("out")
    return 2 * reached(target) if target is not None and target is args[0] else 0


def hidden_bytes(function: Any, args: Any) -> int:
    """Bytes of temporaries that an operation makes beneath the dispatcher.

    The difference whose exp is summed; the workspace of an 8-bit product.
    """
    if str(function).startswith(ADDED_8BIT):
        return WORKSPACE_BYTES
    return reached(args[0]) if function.overloadpacket is torch.ops.aten.logsumexp and on_device(args[0]) else 0


def answer(tensor: Tensor) -> float | int | bool:
    """What the host reads from the device: probes succeed, sums are zero."""
    if tensor.dtype == torch.bool:
        return True
    return 0.0 if tensor.dtype.is_floating_point else 0
