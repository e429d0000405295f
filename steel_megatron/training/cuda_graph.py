"""Forward and backward of a micro-batch as one CUDA graph, captured once and replayed for every further micro-batch.

A replay runs the kernels of the captured pass again, on the memory of that pass:

    batch         copied into tensors that the graph reads
    weights       read where they are: the optimizer and the gather write in place
    gradients     added to the gradient buffer, as by any backward pass
    losses        in tensors of the capture that are kept, and written by every replay
    activations   in the graph's own memory pool, which is held from the capture on

What Python decides is decided once, at the capture. Hence what :mod:`steel_megatron.config.check_cuda_graph` refuses:
shapes that vary, and communication that hooks start. Dropout masks follow from the samples' numbers, which are part of
the batch. The factor that backward starts from is a constant of the graph: when it changes (batch ramp-up, fp16 loss
scale), the pass is captured anew. Gradient norm, optimizer, reductions and evaluation run outside.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch

from steel_megatron.config import ConfigError
from steel_megatron.parallel.pipeline.executor import Output, PassSettings, Stage
from steel_megatron.samples.batches import Batch
from steel_megatron.training.step_sums import Samples


class Graph(Protocol):
    """What is needed of a device's graphs."""

    def beside(self) -> AbstractContextManager[None]:
        """Work inside is queued where captures are, after what was queued before and ahead of what follows."""
        ...

    def capture(self, work: Callable[[], None]) -> None:
        """Records the device's part of ``work`` without running it, in place of an earlier record."""
        ...

    def replay(self) -> None:
        """Queues what was recorded."""
        ...


class CudaGraph:
    """:class:`torch.cuda.CUDAGraph` on a stream of its own, as :class:`Graph`.

    A backward pass queues the end of a gradient's way on the stream that was current when the parameter's gradient node
    was made. The default stream cannot take part in a capture: what makes these nodes is done :meth:`beside` as well.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.graph: torch.cuda.CUDAGraph | None = None

    @contextmanager
    def beside(self) -> Iterator[None]:
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            yield
        current.wait_stream(self.stream)

    def capture(self, work: Callable[[], None]) -> None:
        if self.graph is not None:
            torch.cuda.synchronize(self.device)
            self.graph.reset()  # gives its memory back before the next one asks for as much
        self.graph = torch.cuda.CUDAGraph()
        # Only this thread is bound by the rules of a capture: the loader's threads page-lock memory meanwhile, and
        # NCCL's ask for the state of events.
        with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
            work()

    def replay(self) -> None:
        assert self.graph is not None, "captured before"
        self.graph.replay()


def cuda_graph(device: torch.device) -> CudaGraph:
    """A graph for the device of a run.

    Raises:
        ConfigError: it is no GPU.
    """
    if device.type != "cuda":
        raise ConfigError(
            f"--enable-cuda-graph on {device.type}",
            rule="a CUDA graph needs a GPU",
            fix="leave out --enable-cuda-graph",
        )
    return CudaGraph(device)


class GraphedPasses:
    """The passes of a whole model (one pipeline stage, one chunk).

    Args:
        stage: the whole model; its output has a loss and :class:`~.step_sums.Samples`.
        graph: records and replays.
        warmup_steps: optimizer steps without a graph first, in which libraries load kernels and make workspaces.
    """

    def __init__(self, stage: Stage, graph: Graph, warmup_steps: int) -> None:
        self.stage = stage
        self.graph = graph
        self.warmup_steps = warmup_steps
        self._captured_for: float | None = None  # the loss gradient in the graph

    def run(
        self, eager: Callable[[], list[Output]], batches: Iterable[Batch], count: int, loss_gradient: float
    ) -> list[Output]:
        """All passes of a step; returns the loss of each micro-batch and what its samples cost.

        Args:
            eager: the same without a graph, for warm-up.
            batches: ``count`` micro-batches, read unless ``eager`` is called.
        """
        if self.warmup_steps > 0:
            self.warmup_steps -= 1
            with self.graph.beside():
                return eager()
        return [self._micro_batch(batch, loss_gradient) for _, batch in zip(range(count), batches, strict=True)]

    def _micro_batch(self, batch: Batch, loss_gradient: float) -> Output:
        if self._captured_for != loss_gradient:
            self._capture(batch, loss_gradient)
        fill(self._batch, batch)
        self.graph.replay()
        loss, samples = self._output
        return Output(loss.clone(), Samples(*(tensor.clone() for tensor in samples)))  # the next replay writes them

    def _capture(self, batch: Batch, loss_gradient: float) -> None:
        tensors: dict[str, Any] = {name: value.clone() for name, value in vars(batch).items() if torch.is_tensor(value)}
        self._batch = dataclasses.replace(batch, **tensors)
        self.graph.capture(functools.partial(self._passes, PassSettings(trains=True, loss_gradient=loss_gradient)))
        self._captured_for = loss_gradient

    def _passes(self, settings: PassSettings) -> None:
        loss, samples = self.stage.forward(None, self._batch, settings)
        loss.backward(torch.full_like(loss, settings.loss_gradient))
        self._output = Output(loss.detach(), samples)


def fill(into: Batch, batch: Batch) -> None:
    """Copies a batch's tensors into those of another.

    Raises:
        ValueError: they differ in shape, or the batch has documents apart.
    """
    for name, tensor in vars(into).items():
        given = getattr(batch, name)
        if torch.is_tensor(tensor) and torch.is_tensor(given) and tensor.shape == given.shape:
            tensor.copy_(given, non_blocking=True)
        elif torch.is_tensor(tensor) or torch.is_tensor(given) or batch.lengths is not None:
            raise ValueError(f"{name} of a micro-batch is not as it was when the CUDA graph was captured")
