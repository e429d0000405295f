"""Counts what makes the host wait for a device, where everything runs on a CPU and nothing waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Operations whose result or shape the host must know.
OPERATIONS = {
    "_local_scalar_dense",
    "nonzero",
    "nonzero_static",
    "masked_select",
    "equal",
    "is_nonzero",
    "_unique2",
    "unique_consecutive",
    "unique_dim",
    "repeat_interleave.Tensor",
}
# Methods that read a tensor's memory, and those that copy the host's numbers to the device.
FUNCTIONS = {
    *("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__contains__", "__array__"),
    *("tensor", "as_tensor", "new_tensor", "from_numpy"),
}


class _Operations(TorchDispatchMode):
    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removeprefix("aten.")
        if name in OPERATIONS or name.split(".")[0] in OPERATIONS or _indexes_by_mask(name, args):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


class _Functions(TorchFunctionMode):
    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in FUNCTIONS:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def host_waits() -> Iterator[Counter[str]]:
    """What in this thread would wait, by name; ``item`` shows twice, as method and as ``_local_scalar_dense``."""
    found: Counter[str] = Counter()
    with _Functions(found), _Operations(found):
        yield found


def _indexes_by_mask(name: str, args: Iterable[Any]) -> bool:
    if not name.startswith(("index.", "index_put")):
        return False
    _, indices, *_ = args
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def difference(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """What was added between two counts."""
    return {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)}
