"""Times every implementation that is here, so that ``auto`` takes the fastest on this very machine.

An implementation counts if its results agree with those of torch in fp32, from the same numbers; torch's counts anyway.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from steel_megatron.config import ModelConfig, OptimizerConfig, TrainingConfig, load_run_config
from steel_megatron.config.choices import Precision
from steel_megatron.config.texts import first_line
from steel_megatron.model.gpt import GPT
from steel_megatron.ops import backends, measured
from steel_megatron.ops.cases import Case, Setting
from steel_megatron.optim.grad_norm import counted_gradients, gradient_norm
from steel_megatron.optim.optimizer import Optimizer
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import param_dtype

RUN_TOKENS, RUN_VOCABULARY = 8192, 1 << 16  # of a run's micro-batch and vocabulary, at most


@dataclass(frozen=True)
class Shape:
    """What is measured: a model's widths, samples of a micro-batch, their tokens, a type; ``words`` tell all of it.

    ``run``: the widths and the type in words, where they are a run's own.
    """

    model: ModelConfig
    batch: int
    length: int
    dtype: torch.dtype
    words: str
    run: str = ""

    @classmethod
    def of_run(cls, model: ModelConfig, training: TrainingConfig) -> Shape:
        """A run's own, with no more tokens and vocabulary than tell one implementation from another."""
        length = min(training.seq_length, RUN_TOKENS)
        batch = max(min(training.micro_batch_size, RUN_TOKENS // length), 1)
        model = dataclasses.replace(model, vocab_size=min(model.vocab_size or RUN_VOCABULARY, RUN_VOCABULARY))
        heads = f"{model.num_attention_heads} and {model.query_groups} heads of {model.head_dim}"
        run = f"hidden {model.hidden_size}, {heads}, MLP {model.ffn_hidden_size}, {training.precision}"
        return cls(model, batch, length, param_dtype(training.precision), f"{run}, micro-batch {batch} x {length}", run)

    def setting(self, device: torch.device, dtype: torch.dtype) -> Setting:
        """What a case is made for."""
        return Setting(self.model, self.batch, self.length, device, dtype)

    def packed(self) -> str:
        """For another process; :meth:`unpacked` reads it."""
        values = dataclasses.asdict(self) | {"dtype": str(self.dtype).removeprefix("torch.")}
        return json.dumps(values)

    @classmethod
    def unpacked(cls, text: str) -> Shape:
        values = json.loads(text)
        model, dtype = ModelConfig(**values.pop("model")), getattr(torch, values.pop("dtype"))
        return cls(model=model, dtype=dtype, **values)


@dataclass(frozen=True)
class Timing:
    """What came of an implementation of an operation: its seconds, or why there are none.

    Args:
        failed: it computed something else, or ended in an error.
        refused: it does not take such tensors.
        missing: it is not here.
    """

    operation: str
    backend: str
    seconds: float | None = None
    failed: str = ""
    refused: str = ""
    missing: str = ""

    @property
    def name(self) -> str:
        """Operation and backend, for reports."""
        return f"{backends.OPERATIONS[self.operation].name}, {self.backend}"


def measure_here(preset: str | None = None) -> str:
    """Measures on the GPU if there is one, else on the CPU; keeps the times for later runs, and tells them.

    Args:
        preset: whose shapes are used; None: a small model on a CPU, one of 1 B on a GPU.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = usual_shape(device.type, preset)
    timings = list(measure(shape, device, wanted=worth_trying(device.type)))
    path = measured.write(device.type, record_of(timings, shape))
    backends.forget_orders()
    lines = [f"{measured.device_name(device.type)}; {shape.words}; forward and backward:"]
    for operation, found in record_of(timings, shape)["seconds"].items():
        ranked = sorted(found, key=found.__getitem__)
        words = ", ".join(f"{backend} {1e3 * found[backend]:.3f} ms" for backend in ranked)
        lines.append(f"  {backends.OPERATIONS[operation].name}: {words}")
    left_out = [timing for timing in timings if timing.seconds is None]
    lines += ["Left out:"] if left_out else []
    lines += [f"  {timing.name}: {timing.failed or timing.refused or timing.missing}" for timing in left_out]
    return "\n".join([*lines, f"Kept in {path}: auto takes the first of each from now on."])


def worth_trying(device_type: str) -> Callable[[str, str], bool]:
    """Whether to measure an operation's backend: torch.compile takes a minute, and is there for want of our kernels."""
    ours = backends.BACKENDS["steel"].missing(device_type) is None or device_type == "cpu"
    return lambda operation, backend: not (backend == "compiled" and ours)


def usual_shape(device_type: str, preset: str | None = None) -> Shape:
    """Where no run says it: a model's of 1 B on a GPU, a small one's on a CPU, or a preset's; bf16."""
    default, batch, length = ("tinyllama_1.1b", 4, 2048) if device_type == "cuda" else ("demo", 4, 512)
    config = load_run_config(preset=preset or default).model
    config = dataclasses.replace(config, vocab_size=config.vocab_size or 32000)
    words = f"{preset or default}, micro-batch {batch} x {length}, bf16"
    return Shape(config, batch, length, torch.bfloat16, words)


def record_of(timings: Iterable[Timing], shape: Shape) -> dict[str, Any]:
    """What is kept for later runs; of what is not here, nothing."""
    kinds: dict[str, dict[str, dict[str, Any]]] = {"seconds": {}, "failed": {}, "refused": {}}
    for timing in timings:
        for kind, results in kinds.items():
            value = getattr(timing, kind)
            if value not in (None, ""):
                results.setdefault(timing.operation, {})[timing.backend] = value
    return measured.record(shape.words, **kinds, run=shape.run)


def measure(
    shape: Shape,
    device: torch.device,
    seconds: float = 0.3,
    wanted: Callable[[str, str], bool] = lambda operation, backend: True,
) -> Iterator[Timing]:
    """Every implementation of every operation, held against torch in fp32 and then timed.

    Args:
        shape: the model's ``vocab_size`` is set.
        seconds: how long each implementation is timed.
        wanted: is asked just before an operation's backend is tried; without its consent it is passed over.
    """
    for operation, make in CASES.items():
        known = backends.OPERATIONS[operation]
        with backends.forced(operation, known.backends[-1], device.type):
            expected = _numbers(make(shape.setting(device, torch.float32)))
        case = make(shape.setting(device, shape.dtype))
        for backend in reversed(known.backends):
            missing = backends.BACKENDS[backend].missing(device.type)
            if missing:
                yield Timing(operation, backend, missing=missing)
            elif not backends.BACKENDS[backend].fits(*case.tensors):
                yield Timing(operation, backend, refused="it does not take these tensors")
            elif wanted(operation, backend):
                yield _try(operation, backend, case, expected, device.type, seconds)


def _try(operation: str, backend: str, case: Case, expected: list[Tensor], device_type: str, seconds: float) -> Timing:
    try:
        with backends.forced(operation, backend, device_type):
            disagreeing = disagreement(_numbers(case), expected, case.tolerance)
            if disagreeing and backend != backends.OPERATIONS[operation].backends[-1]:
                return Timing(operation, backend, failed=disagreeing)
            return Timing(operation, backend, _median(case.run, seconds))
    except Exception as error:  # whatever the code of others raises: it must not end the measurement
        return Timing(operation, backend, failed=first_line(error))


def disagreement(found: Iterable[Tensor], expected: Iterable[Tensor], tolerance: float) -> str | None:
    """None if results are close enough."""
    for ours, theirs in zip(found, expected, strict=True):
        error = float((ours - theirs).norm() / theirs.norm().clamp_min(1e-30))
        if not error <= tolerance:
            return f"its results are {error:.2g} of their norm away from fp32's"
    return None


def _numbers(case: Case) -> list[Tensor]:
    return [result.detach().float() for result in case.results()]


def _median(run: Callable[[], object], seconds: float) -> float:
    timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=seconds).median


def _adamw(at: Setting) -> Case:
    """On a model of one block."""
    optimizer = _optimizer(at)

    def results() -> list[Tensor]:
        fresh = _optimizer(at)
        before = [slot.master.clone() for slot in fresh.slots]
        fresh.step(1e-3, 1.0)
        changes = [slot.master - start for slot, start in zip(fresh.slots, before, strict=True)]
        return [*changes, *(moment for slot in fresh.slots for moment in slot.states.values())]

    return Case(tuple(slot.master for slot in optimizer.slots), lambda: optimizer.step(1e-3, 1.0), results)


def _gradient_norm(at: Setting) -> Case:
    optimizer = _optimizer(at)
    counted = counted_gradients(optimizer.data_parallel.shards, optimizer.grid)

    def run() -> list[Tensor]:
        return [gradient_norm(counted, optimizer.grid)]

    return Case(tuple(counted), run, run)


def _optimizer(at: Setting) -> Optimizer:
    grid = Grid.single(at.device)
    model = GPT(at.model, grid, dtype=at.dtype, layers=range(1), seed=0)
    data_parallel = DataParallel([model], grid, shard=False)
    for number, shard in enumerate(data_parallel.shards):
        shard.grad_rows.copy_(at.random(*shard.grad_rows.shape, seed=number))
    names: dict[torch.dtype, Precision] = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
    return Optimizer(data_parallel, OptimizerConfig(), TrainingConfig(precision=names[at.dtype]), grid)


# What operations declare with themselves, and of those of the optimizer, which need a model with gradients.
CASES: dict[str, Callable[[Setting], Case]] = {
    operation: known.case for operation, known in backends.OPERATIONS.items() if known.case is not None
} | {"adamw": _adamw, "gradient_norm": _gradient_norm}
