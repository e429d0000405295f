"""Computes a global batch again and looks where it stops being finite: in which operation, and for which samples.

Between the operations of a block stand the outputs of its modules. They are looked at in the forward pass, and their
gradients in the backward pass, sample by sample, since samples do not mix before the loss is summed. What is found is
the same on every layout: places are numbered through the whole model, and the ranks put together what each has seen.

B samples of a micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from steel_megatron.model.block import Block
from steel_megatron.model.gpt import GPT
from steel_megatron.optim.grad_norm import non_finite_gradients
from steel_megatron.parallel.collectives import gather_objects
from steel_megatron.parallel.parameter import parameters_with_spec, slices_of
from steel_megatron.parallel.pipeline.executor import Output, PassSettings
from steel_megatron.samples.batches import Batch
from steel_megatron.training.engine import GPTStage
from steel_megatron.training.startup.setup import Components

# What a block does, in order; place 10 · (layer + 1) + number in the whole model. The embedding is place 0.
STAGES = (
    "residual stream before the attention",
    "attention norm",
    "query, key and value projection",
    "attention",
    "attention's output projection",
    "residual stream before the MLP",
    "MLP norm",
    "MLP up projection",
    "MLP activation",
    "MLP down projection",
)
PER_BLOCK = len(STAGES)
STREAM = (0, 5)  # places without an operation of their own in the backward pass


@dataclass(frozen=True)
class MicroBatch:
    """Whose tokens an activation holds: of B samples of S tokens, all, or this rank's run under sequence parallel."""

    samples: list[int]  # numbers in the order
    length: int  # S
    tp_rank: int

    def not_finite(self, tensor: Tensor) -> list[int]:
        """The samples of which an activation (B, S or S/R, …) has an element that is not finite."""
        finite = tensor.detach().isfinite()
        if bool(finite.all()):
            return []
        tokens = (~finite).flatten(2).any(2).flatten()  # sample after sample
        first = self.tp_rank * len(tokens) if len(tokens) < len(self.samples) * self.length else 0
        return [self.samples[row] for row in ((tokens.nonzero().flatten() + first) // self.length).unique().tolist()]


@dataclass
class Findings:
    """Per sample, by its number in the order: the first place in the forward pass that is not finite, and the last
    whose gradient is not, with which the backward pass began to go wrong.
    """

    forward: dict[int, int] = field(default_factory=dict)
    backward: dict[int, int] = field(default_factory=dict)
    gradients: list[str] = field(default_factory=list)  # of parameters, reduced over the ranks
    weights: list[str] = field(default_factory=list)  # that are not finite before the step

    @property
    def finite(self) -> bool:
        return not (self.forward or self.backward or self.gradients)

    @property
    def samples(self) -> list[int]:
        """Those at fault, ascending."""
        return sorted(self.forward or self.backward)

    def where(self, layers: int) -> str:
        """The place in words; of several samples that of the first."""
        if self.forward:
            return f"{place_name(self.forward[self.samples[0]], layers)}, forward pass"
        if self.backward:
            return f"{place_name(consumer(self.backward[self.samples[0]]), layers)}, backward pass"
        return f"gradient of {', '.join(self.gradients)}" if self.gradients else ""


def place_name(place: int, layers: int) -> str:
    """A place in words; blocks count from 0, as in the names of parameters."""
    if place == 0:
        return "embedding"
    layer, stage = divmod(place - PER_BLOCK, PER_BLOCK)
    if layer < layers:
        return f"block {layer}, {STAGES[stage]}"
    return ("residual stream before the final norm", "final norm", "head and loss")[stage]


def consumer(place: int) -> int:
    """The operation whose backward pass makes the gradient of what a place puts out."""
    following = place + 1 if place else PER_BLOCK
    return following + 1 if following % PER_BLOCK in STREAM else following


class Probe:
    """Looks at everything that passes through the chunks while it is entered."""

    def __init__(self, stages: Iterable[GPTStage]) -> None:
        self.stages = list(stages)
        self.found = Findings()
        self.micro_batch: MicroBatch | None = None  # whose forward pass is under way; what is recomputed has none
        self.exits = ExitStack()

    def __enter__(self) -> Probe:
        for stage in self.stages:
            self._watch_stage(stage)
            self._watch_chunk(stage.model)
        return self

    def __exit__(self, *_: object) -> None:
        self.exits.close()

    def _watch_stage(self, stage: GPTStage) -> None:
        forward, end = stage.forward, PER_BLOCK * (stage.model.config.num_layers + 1)

        def with_samples(hidden: Tensor | None, micro_batch: Batch, settings: PassSettings) -> Output:
            samples = micro_batch.sample_ids_B.tolist()
            self.micro_batch = MicroBatch(samples, micro_batch.tokens_BS.shape[1], stage.model.grid.tp.rank)
            try:
                output = forward(hidden, micro_batch, settings)
            finally:
                self.micro_batch = None
            if output.samples is not None:
                for sample, finite in zip(samples, output.samples.losses_2B.isfinite().all(0).tolist(), strict=True):
                    if not finite:
                        self.found.forward.setdefault(sample, end + 2)
            return output

        stage.forward = with_samples  # type: ignore[method-assign]  # of this object, until the exit
        self.exits.callback(delattr, stage, "forward")

    def _watch_chunk(self, chunk: GPT) -> None:
        if chunk.embedding is not None:
            self._output(chunk.embedding, 0)
        for block in chunk.blocks:
            assert isinstance(block, Block)
            base = PER_BLOCK * (block.layer + 1)
            self._output(block.attention_norm, base + 1, base)
            self._output(block.attention.query_key_value, base + 2)
            self._input(block.attention.output, base + 3)
            self._output(block.attention.output, base + 4)
            self._output(block.mlp_norm, base + 6, base + 5)
            self._output(block.mlp.up, base + 7)
            self._input(block.mlp.down, base + 8)
            self._output(block.mlp.down, base + 9)
        if chunk.final_norm is not None:
            base = PER_BLOCK * (chunk.config.num_layers + 1)
            self._output(chunk.final_norm, base + 1, base)

    def _output(self, module: nn.Module, *places: int) -> None:
        """Watches what a module puts out; of a norm the normed first, then the stream that it normed."""

        def hook(_: nn.Module, __: Any, outputs: Any) -> None:
            found = outputs if isinstance(outputs, tuple) else (outputs,)
            for tensor, place in zip(found, places, strict=False):
                self.look(tensor, place, with_gradient=place % PER_BLOCK not in STREAM or place == 0)

        self.exits.callback(module.register_forward_hook(hook).remove)

    def _input(self, module: nn.Module, place: int) -> None:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            self.look(inputs[0], place, with_gradient=True)

        self.exits.callback(module.register_forward_pre_hook(hook).remove)

    def look(self, tensor: Tensor, place: int, with_gradient: bool) -> None:
        """Notes the samples of an activation that are not finite, and those of its gradient when that comes."""
        micro_batch = self.micro_batch
        if micro_batch is None:
            return
        for sample in micro_batch.not_finite(tensor):
            self.found.forward[sample] = min(self.found.forward.get(sample, place), place)

        def look_back(gradient: Tensor) -> None:
            for sample in micro_batch.not_finite(gradient):
                self.found.backward[sample] = max(self.found.backward.get(sample, place), place)

        if with_gradient and tensor.requires_grad:
            tensor.register_hook(look_back)


def probe(components: Components, first: int, size: int, loss_gradient: float) -> Findings:
    """Forward and backward pass of the run's samples ``first`` to ``first + size - 1`` with the weights as they are.

    A collective call. The gradients are those of these samples afterwards; weights and optimizer are not touched.

    Args:
        loss_gradient: what the loss's backward pass starts from, loss scale included.
    """
    graphed, components.engine.graphed = components.engine.graphed, None  # a replay has no hooks
    weights = non_finite_weights(components)
    try:
        with Probe(components.engine.stages) as looking:
            components.data_parallel.zero_grads()
            batches = components.train_data.global_batch(first, size)
            sources = len(components.train_data.reader.order.names)
            components.engine.train(batches, components.micro_batches(size), loss_gradient, sources)
            components.data_parallel.finish_grads()
    finally:
        components.engine.graphed = graphed
    found = Findings(weights=weights)
    for forward, backward in gather_objects((looking.found.forward, looking.found.backward), components.grid.world):
        for sample, place in forward.items():
            found.forward[sample] = min(found.forward.get(sample, place), place)
        for sample, place in backward.items():
            found.backward[sample] = max(found.backward.get(sample, place), place)
    found.gradients = non_finite_gradients(components.data_parallel.shards, components.grid)
    return found


def non_finite_weights(components: Components) -> list[str]:
    """The weights that have such elements, by name; the same on all ranks (a collective call)."""
    own = []
    components.data_parallel.wait_parameters()
    for parameter in parameters_with_spec(components.chunks):
        for piece, block in slices_of(parameter):
            if not bool(block.tensor.detach().isfinite().all()):
                own.append(piece.name)
    return sorted({name for names in gather_objects(own, components.grid.world) for name in names})
