"""A tensor that is not kept for the backward pass but made again there, from what is kept anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


@contextmanager
def made_again(value: Tensor, again: Callable[[], Tensor]) -> Iterator[None]:
    """Operations in the context that save ``value``, or a view of it, keep no memory: backward passes call ``again``.

    Args:
        value: contiguous.
        again: makes the same once more, without a graph, from tensors that are kept anyway.
    """
    address = value.untyped_storage().data_ptr()

    def pack(tensor: Tensor) -> Any:
        if tensor.untyped_storage().data_ptr() != address:
            return tensor
        return tensor.shape, tensor.stride()

    def unpack(saved: Any) -> Tensor:
        if isinstance(saved, Tensor):
            return saved
        with torch.no_grad():
            return again().as_strided(*saved)

    with saved_tensors_hooks(pack, unpack):
        yield
