"""Watches every operation on the fake device: what it computes, moves and keeps, and whether the host would wait."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fake_cuda.messages import Message, message_of
from fake_cuda.scopes import Scopes
from fake_cuda.traffic import FREE, accumulated_bytes, answer, flops_of, hidden_bytes, on_device, reached, traffic

ATTENTION, MATMUL = "attention", "matmuls"
# The host waits to see how large the result is.
WAITING = (
    "aten.nonzero.",
    "aten.masked_select.",
    "aten._unique",
    "aten.unique_",
    "aten.bincount.",
    "aten.equal.",
    "aten.repeat_interleave.Tensor",
)


@dataclass(frozen=True)
class Operation:
    """One operation on the device.

    ``flops`` as the model's definition has them: attention to the past only. ``read`` and ``written`` are bytes;
    ``accumulated`` those of them that are an fp32 matrix to which a matmul adds its product.
    """

    name: str
    kind: str  # the part of the model, or matmuls, or attention
    phase: str  # forward, recomputed, backward, or step
    flops: float
    read: int
    written: int
    accumulated: int = 0

    @property
    def moved(self) -> int:
        return self.read + self.written


class Recorder(TorchDispatchMode):
    """Stands between autograd and the FakeTensors. ``scopes`` say which part of the model runs."""

    def __init__(self, scopes: Scopes) -> None:
        super().__init__()
        self.scopes = scopes
        self.operations: list[Operation] = []
        self.messages: list[Message] = []
        self.waits: Counter[str] = Counter()
        self.documents: dict[int, list[int]] = {}  # lengths by the storage of their starts
        self.strict = True  # waits count
        self.answers = True  # the device has no numbers that could be read
        self.allocated = self.peak = 0  # bytes
        self._storages: dict[int, weakref.ref[Any]] = {}
        self._muted = 0
        self._readings = 0
        self._batch = 0
        self._passes = 0

    def clear(self) -> None:
        """Begins new lists; what was handed out stays as it is."""
        self.operations, self.messages, self.waits = [], [], Counter()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """The host may wait for the device inside."""
        self._readings += 1
        try:
            yield
        finally:
            self._readings -= 1

    @contextlib.contextmanager
    def muted(self) -> Iterator[None]:
        """What runs inside is part of a kernel: see :meth:`add_kernel`."""
        self._muted += 1
        try:
            yield
        finally:
            self._muted -= 1

    def add_kernel(self, name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """One kernel that reads and writes these tensors, each once."""
        self._keep(outputs)
        read, written = (sum(map(reached, tensors)) for tensors in (inputs, outputs))
        self.operations.append(Operation(name, self.scopes.current, self._phase(), 0.0, read, written))

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """The host may not wait inside, whatever is around."""
        before, self._readings = self._readings, 0
        try:
            yield
        finally:
            self._readings = before

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Sends and receives inside are started together."""
        self._batch += 1
        yield
        self._batch += 1

    @contextlib.contextmanager
    def passes(self) -> Iterator[None]:
        """What runs inside are forward and backward passes."""
        self._passes += 1
        try:
            yield
        finally:
            self._passes -= 1

    def waited(self, call: str) -> None:
        """Takes note that the host would wait for the device."""
        if self.strict and not self._readings:
            self.waits[f"{call} in {self.scopes.current}"] += 1

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function.namespace == "prim" or self._muted:
            return function(*args, **kwargs)
        if function is torch.ops.aten._local_scalar_dense.default and on_device(args[0]):
            self.waited("item")
            if self.answers:
                return answer(args[0])
        result = function(*args, **kwargs)
        self._keep(result)
        self.peak = max(self.peak, self.allocated + hidden_bytes(function, args))
        if not function.is_view:
            self._record(function, args, kwargs, result)
        return result

    def _record(self, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        name = str(function)
        if function.namespace == "c10d":  # of host tensors too
            self.messages.append(message_of(name, args, self._phase() == "backward", self._batch))
            return
        if not any(map(on_device, inputs + outputs)):
            return
        self._watch(name, args, inputs, outputs)
        if name in FREE:
            return
        read, written = traffic(function, name, args, kwargs, result)
        flops, kind, accumulated = flops_of(name, args, self.documents), self.scopes.current, 0
        if any(word in name for word in ("attention", "_varlen", "flash_attn")):
            kind = ATTENTION
        elif flops:
            kind = MATMUL
            accumulated = accumulated_bytes(name, args, kwargs)
        self.operations.append(Operation(name, kind, self._phase(), flops, read, written, accumulated))

    def _watch(self, name: str, args: Any, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        if name.startswith(WAITING) or (name.startswith("aten.index") and _by_mask(args)):
            self.waited(name)
        elif name.startswith(("aten._to_copy", "aten.copy_")):
            source = inputs[1] if name.startswith("aten.copy_") else inputs[0]
            if {on_device(source), on_device(outputs[0])} == {True, False} and not _pinned(source):
                self.waited(f"{name} between host and device")

    def _phase(self) -> str:
        if torch._C._current_graph_task_id() != -1:
            return "recomputed" if self.scopes.open else "backward"
        return "forward" if self._passes else "step"

    def _keep(self, result: Any) -> None:
        for tensor in tree_leaves(result):
            if not on_device(tensor):
                continue
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._storages:
                self.allocated += size
                self.peak = max(self.peak, self.allocated)
                self._storages[key] = weakref.ref(storage, functools.partial(self._free, key, size))

    def _free(self, key: int, size: int, _: Any) -> None:
        if self._storages.pop(key, None) is not None:
            self.allocated -= size


def _pinned(tensor: Tensor) -> bool:
    """Whether a copy of a tensor of the host to the device is queued and not waited for."""
    with no_dispatch():
        return tensor.is_pinned()


def _by_mask(args: Any) -> bool:
    """Whether an indexing operation has to count a mask's elements; one value for all of them goes without."""
    masks = [
        leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, Tensor) and leaf.dtype in (torch.bool, torch.uint8)
    ]
    return bool(masks) and not (len(args) > 2 and isinstance(args[2], Tensor) and args[2].numel() == 1)
