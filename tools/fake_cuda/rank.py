"""One rank of a run on the fake device: the trainer as :func:`steel_megatron.training.run.run` builds it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore

from fake_cuda import kernels, stand_ins
from fake_cuda.compiled import compiler
from fake_cuda.messages import objects_message
from fake_cuda.recorder import Recorder
from fake_cuda.scopes import CROSS_ENTROPY, Scopes
from steel_megatron.config import RunConfig, check_run
from steel_megatron.model.gpt import GPT
from steel_megatron.ops import backends, measured
from steel_megatron.ops.available import BACKENDS
from steel_megatron.ops.native import library
from steel_megatron.optim.batch_size import BatchSize
from steel_megatron.optim.optimizer import Optimizer
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid
from steel_megatron.samples.batches import Batch
from steel_megatron.tokens.indexed import IndexedWriter
from steel_megatron.tokens.token_type import best_dtype
from steel_megatron.training.callbacks.validation import Validation
from steel_megatron.training.engine import Engine, GPTStage
from steel_megatron.training.loop import Trainer
from steel_megatron.training.startup.setup import build_components, build_data
from steel_megatron.training.state import RunState


@contextlib.contextmanager
def fake_rank(
    config: RunConfig, rank: int, world: int, gpu: stand_ins.FakeGPU, dataset: str, initialise: bool = False
) -> Iterator[tuple[Trainer, Recorder]]:
    """The trainer of a rank, and what watches it; everything that runs inside the context is on the fake device."""
    config = config.replace(data_path=[dataset], measure_kernels=False)  # there is nothing to be timed
    config = check_run(config, world)
    scopes = Scopes()
    recorder = Recorder(scopes)
    stand_ins.install(gpu, recorder.waited, lambda: (recorder.allocated, recorder.peak))
    if world > 1:
        dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
    undo = _patches(recorder, scopes)
    datasets = None
    try:
        with _Fakes(allow_non_fake_inputs=True), recorder, scopes.following():
            device = torch.device("cuda", 0)
            grid = Grid.create(config.parallel, device) if world > 1 else Grid.single(device)
            batch_size, state = BatchSize(config.training), RunState()
            datasets = build_data(config, grid, None, batch_size, state)
            components = build_components(config, grid, batch_size, datasets, initialise=initialise)
            yield Trainer(config, components, state, []), recorder
    finally:
        if datasets is not None:
            datasets.close()
        for step in reversed(undo):
            step()
        forget_tensors()
        if world > 1:
            dist.destroy_process_group()


class _Fakes(FakeTensorMode):
    avoid_device_init = True  # there is no driver that could be woken


def _patches(recorder: Recorder, scopes: Scopes) -> list[Callable[[], None]]:
    """Puts scopes around what is no module, and kernels where a CPU build has none; the list undoes that."""
    undo = [
        scopes.wrap(GPT, "loss", CROSS_ENTROPY),
        scopes.wrap(Optimizer, "step", "optimizer"),
        scopes.wrap(DataParallel, "zero_grads", "zero gradients"),
        scopes.wrap(DataParallel, "finish_grads", "data parallel"),
        scopes.wrap(DataParallel, "gather_parameters", "data parallel"),
        _replace(library, "built", lambda device_type: True),
        _replace(measured, "times", lambda device_type: None),
        _with_compiler(),
        _replace(measured, "use", lambda device_type, found: None),
        _replace(measured, "for_run", lambda widths: None),
        _replace(dist, "broadcast_object_list", lambda objects, **_: None),
        _replace(dist, "all_gather_object", functools.partial(_all_gather_object, recorder)),
        _replace(GPTStage, "forward", _noting_documents(recorder)),
        _around(dist, "batch_isend_irecv", recorder.batch),
        _around(Engine, "train", recorder.passes),
        _around(Engine, "evaluate", recorder.passes),
        # Validation reads its sums at the end, and waits for nothing before.
        _around(Engine, "evaluate", recorder.working),
        _around(Validation, "evaluate", recorder.reading),
        _around(Trainer, "read", recorder.reading),
        _replace(F, "rms_norm", kernels.rms_norm),
        _replace(torch, "compile", compiler(recorder)),
    ]
    backends.forget_orders()
    return undo


def _noting_documents(recorder: Recorder) -> Callable[..., Any]:
    """A stage's forward pass that tells the recorder where the documents of its micro-batch start."""
    forward = GPTStage.forward

    def noting(self: GPTStage, hidden: Any, micro_batch: Batch, settings: Any) -> Any:
        if micro_batch.cu_seqlens is not None and micro_batch.lengths is not None:
            recorder.documents[micro_batch.cu_seqlens.untyped_storage()._cdata] = micro_batch.lengths
        return forward(self, hidden, micro_batch, settings)

    return noting


def _around(holder: Any, name: str, context: Callable[[], Any]) -> Callable[[], None]:
    function = getattr(holder, name)

    @functools.wraps(function)
    def inside(*arguments: Any, **named: Any) -> Any:
        with context():
            return function(*arguments, **named)

    return _replace(holder, name, inside)


def _replace(holder: Any, name: str, value: Any) -> Callable[[], None]:
    before = getattr(holder, name)
    setattr(holder, name, value)
    return lambda: setattr(holder, name, before)


def _with_compiler() -> Callable[[], None]:
    """torch.compile counts as there: nothing is built, so that Triton is not missed."""
    before = BACKENDS["compiled"]
    BACKENDS["compiled"] = dataclasses.replace(before, missing=lambda device_type: None)
    return functools.partial(BACKENDS.__setitem__, "compiled", before)


def _all_gather_object(recorder: Recorder, everywhere: list[Any], own: Any, group: Any = None) -> None:
    """All ranks have the same object."""
    recorder.messages.append(objects_message(group))
    everywhere[:] = [own] * len(everywhere)


def forget_tensors() -> None:
    """Empties the caches of the package's functions: they may hold tensors of this rank's device."""
    for name, module in list(sys.modules.items()):
        if name.startswith("steel_megatron"):
            for function in list(vars(module).values()):
                if hasattr(function, "cache_clear"):
                    function.cache_clear()


def random_dataset(folder: Path, samples: int, length: int, vocab_size: int) -> str:
    """A dataset for so many samples, in documents that do not end where samples do."""
    prefix = folder / "tokens"
    random = np.random.default_rng(1)
    left = samples * length + 1
    with IndexedWriter(prefix, best_dtype(vocab_size)) as writer:
        while left > 0:
            size = min(left, int(random.integers(length // 4, length)))
            writer.add_document(random.integers(0, vocab_size, size))
            left -= size
    return str(prefix)
