"""What is kept between forward and backward: as autograd saves it, and as it stays in memory."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Saved:
    """Storages that autograd saved, each once; those of some tensors do not count."""

    def __init__(self, outside: Iterable[Tensor]) -> None:
        self.outside = {_address(tensor) for tensor in outside}
        self.held: dict[int, Tensor] = {}  # so that no address is used again

    def add(self, tensor: Tensor) -> Tensor:
        if _address(tensor) not in self.outside:
            self.held.setdefault(_address(tensor), tensor)
        return tensor

    @property
    def bytes(self) -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor in self.held.values())

    def __str__(self) -> str:
        return "\n".join(
            f"{t.untyped_storage().nbytes()} bytes: {tuple(t.shape)} {t.dtype}" for t in self.held.values()
        )


@contextmanager
def saved_tensors(outside: Iterable[Tensor] = ()) -> Iterator[Saved]:
    """Collects what operations in the context save for their backward passes."""
    saved = Saved(outside)
    with torch.autograd.graph.saved_tensors_hooks(saved.add, lambda tensor: tensor):
        yield saved


class Operations(TorchDispatchMode):
    """Counts the operations in a context, by name, and knows the storages that they made and that still live."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.made: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[str(func).removesuffix(".default")] += 1
        before = {_address(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and _address(leaf) not in before:
                storage = leaf.untyped_storage()
                self.made[id(storage)] = weakref.ref(storage)
        return result

    def live(self) -> list[torch.UntypedStorage]:
        """Made in the context and still there."""
        return [storage for ref in self.made.values() if (storage := ref()) is not None]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
