"""What ``torch.cuda`` answers on the fake device, in place of functions that only a CUDA build has."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
import torch._subclasses.fake_tensor

from fake_cuda import guard

DEVICES = 8


@dataclasses.dataclass(frozen=True)
class FakeGPU:
    """What a run may ask of the card: name, compute capability and bytes of memory."""

    name: str = "NVIDIA A100-SXM4-80GB"
    capability: tuple[int, int] = (8, 0)
    memory: int = 80 << 30


class Stream:
    """A stream with a number of its own; what is queued on it is done at once."""

    _numbers = itertools.count(1)

    def __init__(self, device: Any = None, priority: int = 0, **_: Any) -> None:
        self.device = torch.device("cuda", _current.device) if device is None else torch.device(device)
        self.priority = priority
        self.cuda_stream = self.stream_id = next(Stream._numbers)

    def wait_stream(self, stream: Stream) -> None:
        """The device waits, not the host."""

    def wait_event(self, event: Event) -> None:
        """The device waits, not the host."""

    def record_event(self, event: Event | None = None) -> Event:
        return event or Event()

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        _current.waits("Stream.synchronize")

    def __enter__(self) -> Stream:
        self._before = _current.stream
        _current.stream = self
        return self

    def __exit__(self, *_: object) -> None:
        _current.stream = self._before


class Event:
    """An event that has happened."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def record(self, stream: Stream | None = None) -> None: ...

    def wait(self, stream: Stream | None = None) -> None: ...

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        _current.waits("Event.synchronize")

    def elapsed_time(self, end: Event) -> float:
        _current.waits("Event.elapsed_time")
        return 1.0


class Graph:
    """Records nothing: what is captured is run, and a replay does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def replay(self) -> None: ...

    def reset(self) -> None: ...


class _Current:
    """The state of this process: one device, one stream."""

    def __init__(self) -> None:
        self.device = 0
        self.gpu = FakeGPU()
        self.stream = Stream.__new__(Stream)
        self.stream.device, self.stream.priority = torch.device("cuda", 0), 0
        self.stream.cuda_stream = self.stream.stream_id = 0
        self.waits: Callable[[str], None] = lambda call: None
        self.memory: Callable[[], tuple[int, int]] = lambda: (0, 0)

    def set_device(self, device: Any) -> None:
        self.device = device if isinstance(device, int) else torch.device(device).index or 0


_current = _Current()


def install(gpu: FakeGPU, waits: Callable[[str], None], memory: Callable[[], tuple[int, int]] = lambda: (0, 0)) -> None:
    """Puts the answers in their places for the rest of this process; may be called again with others.

    Args:
        gpu: the card.
        waits: told each call that would make the host wait for the device.
        memory: bytes allocated now and at most.
    """
    guard.set_capability(gpu.capability[0])
    _current.gpu, _current.waits, _current.memory = gpu, waits, memory
    for name, answer in _answers().items():
        setattr(torch.cuda, name, answer)
    # It would make a tensor on the device to wake its driver.
    torch._subclasses.fake_tensor.init_gpu_context = lambda device: None  # type: ignore[assignment]


def _answers() -> dict[str, Any]:
    @contextlib.contextmanager
    def device(index: Any) -> Iterator[None]:
        before = _current.device
        _current.set_device(index)
        try:
            yield
        finally:
            _current.device = before

    @contextlib.contextmanager
    def graph(*_: Any, stream: Stream | None = None, **__: Any) -> Iterator[None]:
        with stream or contextlib.nullcontext():
            yield

    properties = SimpleNamespace(
        name=_current.gpu.name,
        major=_current.gpu.capability[0],
        minor=_current.gpu.capability[1],
        total_memory=_current.gpu.memory,
        multi_processor_count=108,
    )
    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": lambda: None,
        "_lazy_init": lambda: None,
        "device_count": lambda: DEVICES,
        "current_device": lambda: _current.device,
        "set_device": _current.set_device,
        "device": device,
        "get_device_name": lambda *_: _current.gpu.name,
        "get_device_capability": lambda *_: _current.gpu.capability,
        "get_device_properties": lambda *_: properties,
        "is_bf16_supported": lambda *_, **__: True,
        "current_stream": lambda *_: _current.stream,
        "default_stream": lambda *_: _current.stream,
        "stream": lambda stream: stream or contextlib.nullcontext(),
        "synchronize": lambda *_: _current.waits("torch.cuda.synchronize"),
        "memory_allocated": lambda *_: _current.memory()[0],
        "max_memory_allocated": lambda *_: _current.memory()[1],
        "max_memory_reserved": lambda *_: _current.memory()[1],
        "reset_peak_memory_stats": lambda *_: None,
        "mem_get_info": lambda *_: (_current.gpu.memory - _current.memory()[0], _current.gpu.memory),
        "empty_cache": lambda: None,
        "Stream": Stream,
        "Event": Event,
        "CUDAGraph": Graph,
        "graph": graph,
    }
