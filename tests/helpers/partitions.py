"""Tensors cut into rectangles at random, and shared out over ranks that may hold the same parts."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from steel_megatron.checkpoint.boxes import Box
from steel_megatron.parallel.parameter import TensorSlice

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool, torch.float64)


def tensor_of(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Random bits where every pattern is a value, NaNs included; random truth values for bool."""
    random = np.random.default_rng(seed)
    if dtype == torch.bool:
        return torch.from_numpy(random.integers(0, 2, shape).astype(bool))
    content = random.integers(0, 256, math.prod(shape) * dtype.itemsize, np.uint8)
    return torch.from_numpy(content).view(dtype).view(shape)


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Bitwise equal: NaN equals itself, and -0 is not 0."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    pair = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)]
    return torch.equal(*pair)


def random_partition(shape: tuple[int, ...], random: np.random.Generator, cuts: int) -> list[Box]:
    """Disjoint boxes that cover a tensor, from ``cuts`` cuts of a random box along a random dimension."""
    boxes = [Box((0,) * len(shape), shape)]
    for _ in range(cuts):
        index = int(random.integers(len(boxes)))
        box = boxes[index]
        long = [dim for dim, size in enumerate(box.shape) if size > 1]
        if not long:
            continue
        dim = int(random.choice(long))
        first, end = box.offset[dim], box.offset[dim] + box.shape[dim]
        at = int(random.integers(first + 1, end))
        boxes[index : index + 1] = [box.part(dim, first, at), box.part(dim, at, end)]
    return boxes


def held_by_ranks(shape: tuple[int, ...], random: np.random.Generator, ranks: int, layers: int) -> list[list[Box]]:
    """By rank, boxes that together cover a tensor ``layers`` times, each time cut in another way."""
    held: list[list[Box]] = [[] for _ in range(ranks)]
    for _ in range(layers):
        for box in random_partition(shape, random, cuts=int(random.integers(0, 2 * ranks))):
            held[int(random.integers(ranks))].append(box)
    return held


def view_of(tensor: Tensor, box: Box) -> Tensor:
    """The elements of a box, sharing memory with the tensor."""
    for dim, (start, size) in enumerate(zip(box.offset, box.shape, strict=True)):
        tensor = tensor.narrow(dim, start, size)
    return tensor


def slice_of(tensor: Tensor, box: Box) -> TensorSlice:
    """A box of a tensor as a block with memory of its own."""
    return TensorSlice(view_of(tensor, box).clone(), tuple(tensor.shape), box.offset)


def empty_slice(tensor: Tensor, box: Box) -> TensorSlice:
    """A block to load a box into, filled with what the tensor does not hold there."""
    content = view_of(tensor, box).contiguous().reshape(-1).view(torch.uint8)
    opposite = ~view_of(tensor, box) if tensor.dtype == torch.bool else (~content).view(tensor.dtype).view(box.shape)
    return TensorSlice(opposite.clone(), tuple(tensor.shape), box.offset)


def counts(shape: tuple[int, ...], boxes: list[Box]) -> np.ndarray:
    """How many of the boxes each element of a tensor is in."""
    found = np.zeros(shape, np.int64)
    for box in boxes:
        found[tuple(slice(start, start + size) for start, size in zip(box.offset, box.shape, strict=True))] += 1
    return found
