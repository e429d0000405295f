"""A stand-in for a CUDA graph that runs on a CPU: it records torch's operations, not the Python that calls them.

Like a graph it repeats the operations on the tensors of the recording, changes nothing while it records, and allows no
operation that gives the host a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class OperationTape:
    """A :class:`steel_megatron.training.cuda_graph.Graph`; counts what was asked of it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self._operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    @contextmanager
    def beside(self) -> Iterator[None]:
        self.log.append("beside")
        yield

    def capture(self, work: Callable[[], None]) -> None:
        self.log.append("capture")
        recorder = _Recorder()
        with recorder:
            work()
        for tensor, before in reversed(recorder.changed):
            tensor.copy_(before)
        self._operations = recorder.operations

    @torch.no_grad()
    def replay(self) -> None:
        self.log.append("replay")
        for operation, args, kwargs, results in self._operations:
            found = operation(*args, **kwargs)
            for result, value in zip(tree_leaves(results), tree_leaves(found), strict=True):
                if isinstance(result, Tensor) and result.data_ptr() != value.data_ptr():
                    result.copy_(value)


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.changed: list[tuple[Tensor, Tensor]] = []  # tensors that operations write to, and what they held

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing: a value goes to the host")
        known = func._schema.arguments
        given = [*zip(known, args, strict=False), *((a, kwargs[a.name]) for a in known if a.name in kwargs)]
        written = [value for argument, value in given if argument.alias_info and argument.alias_info.is_write]
        for tensor in tree_leaves(written):
            if isinstance(tensor, Tensor):
                self.changed.append((tensor.detach(), tensor.detach().clone()))
        results = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, results))
        return results
