"""From a run's configuration to the time and memory of its step on a card."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fake_cuda import rank as ranks
from fake_cuda.cards import Card
from fake_cuda.least_traffic import micro_batch_traffic, step_traffic
from fake_cuda.messages import Message
from fake_cuda.price import Costs
from fake_cuda.recorder import ATTENTION, MATMUL, Operation
from fake_cuda.stand_ins import FakeGPU
from steel_megatron.config import RunConfig
from steel_megatron.model.cost import Sizes
from steel_megatron.model.flops import model_flops
from steel_megatron.model.stages import stage_layers
from steel_megatron.parallel.parameter import param_dtype
from steel_megatron.parallel.places import axis_groups, axis_sizes
from steel_megatron.training.loop import Trainer
from steel_megatron.verify.layouts import Layout
from steel_megatron.verify.shrink import LENGTHS

LATENCY_SECONDS = 20e-6  # of a collective over NVLink, on top of its bytes (estimate)
OVERLAP = 0.5  # of tensor parallel's messages in the backward pass, beside matmuls (estimate)


@dataclass
class StepTrace:
    """What one rank does in one optimizer step of so many micro-batches."""

    micro_batches: int
    operations: list[Operation]
    messages: list[Message]


@dataclass
class RankTrace:
    """Two steps of one rank that differ in nothing but the number of micro-batches, and its memory in bytes."""

    steps: tuple[StepTrace, StepTrace]
    states: int
    peak: int
    axes: dict[tuple[int, ...], str]
    minimum: tuple[Counter[str], Counter[str]]  # of a micro-batch, of what is done once per step


@dataclass
class Speed:
    """A step's time by one set of prices, with the messages that nothing hides and the pipeline's bubble."""

    seconds: float
    mfu_full: float
    mfu_causal: float
    share_of_roof: float
    exposed_seconds: float
    bubble_seconds: float


@dataclass
class Prediction:
    """A step of the slowest rank on a card: at the card's roofs, and as expected; see price.py."""

    card: str
    layout: str
    devices: int
    tokens: int
    micro_batches: int
    roofs: Speed
    expected: Speed
    traffic_bytes: int
    traffic_minimum_bytes: int
    peak_bytes: int
    micro_batch: Costs
    step: Costs
    micro_batch_minimum: Counter[str]
    step_minimum: Counter[str]
    messages: dict[tuple[str, str], tuple[float, float, float]] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """What ``--json`` writes."""
        names = ("card", "layout", "traffic_bytes", "traffic_minimum_bytes", "peak_bytes", "tokens", "devices")
        speeds = asdict(self.roofs) | {f"expected_{name}": value for name, value in asdict(self.expected).items()}
        kinds = {
            f"{title} {kind}": {
                "bytes": cost.moved,
                "minimum": minimum.get(kind, 0),
                "seconds": cost.seconds,
                "expected_seconds": cost.expected_seconds,
            }
            for title, costs, minimum in (
                ("micro-batch:", self.micro_batch, self.micro_batch_minimum),
                ("step:", self.step, self.step_minimum),
            )
            for kind, cost in costs.kinds.items()
        }
        return {name: getattr(self, name) for name in names} | speeds | {"kinds": kinds}


def predict(config: RunConfig, layout: Layout, card_name: str, card: Card) -> Prediction:
    """Traces a rank of each pipeline stage, prices its step, and takes the slowest."""
    world = layout.world_size
    sizes = axis_sizes(config.parallel, world)
    stages = axis_groups(sizes, config.parallel.rank_order, "pp")[0]
    traces = [trace_rank(config, number, world, FakeGPU(card.name, card.capability, card.memory)) for number in stages]
    found = [price(config, layout, card_name, card, trace) for trace in traces]
    slowest = max(found, key=lambda prediction: prediction.expected.seconds)
    slowest.peak_bytes = max(trace.peak for trace in traces)
    return slowest


def trace_rank(config: RunConfig, rank: int, world: int, gpu: FakeGPU) -> RankTrace:
    """Runs a rank's steps on the fake device.

    The first step fills caches and is not kept; the batch ramps up from one to two micro-batches (with a pipeline, from
    one to two per stage), so that what belongs to a micro-batch and what to a step can be told apart.
    """
    training, parallel = config.training, config.parallel
    dp = axis_sizes(parallel, world)["dp"]
    few = dp * training.micro_batch_size * parallel.pipeline_model_parallel_size
    config = config.replace(
        global_batch_size=2 * few,
        rampup_batch_size=[few, few, 2 * few],
        train_iters=None,
        train_samples=6 * few,
        split="100,0,0",
        lr_decay_style="constant",  # the schedule costs nothing, and knows nothing of so short a run
        **dict.fromkeys(LENGTHS),
    )
    assert config.model.vocab_size is not None
    with tempfile.TemporaryDirectory() as folder:
        dataset = ranks.random_dataset(Path(folder), 8 * few, training.seq_length, config.model.vocab_size)
        with ranks.fake_rank(config, rank, world, gpu, dataset) as (trainer, recorder):
            states = recorder.allocated
            steps = []
            for _ in range(3):
                recorder.clear()
                trainer.train_step()
                size = trainer.unread[-1][0]["global_batch_size"]
                steps.append(StepTrace(trainer.components.micro_batches(size), recorder.operations, recorder.messages))
            grid = trainer.components.grid
            axes = {axis.ranks: axis.name for axis in (grid.world, grid.ends, grid.pp, grid.dp, grid.tp)}
            minimum = least_traffic(config, trainer)
            return RankTrace((steps[1], steps[2]), states, recorder.peak, axes, minimum)


def least_traffic(config: RunConfig, trainer: Trainer) -> tuple[Counter[str], Counter[str]]:
    """The fused minimum of this rank, of a micro-batch and of what is done once per step."""
    model, training, parallel = config.model, config.training, config.parallel
    components = trainer.components
    width, eight_bit = param_dtype(training.precision).itemsize, training.fp8_format is not None
    tp, sp = components.grid.tp.size, components.grid.sequence_parallel
    sizes = Sizes.of(model, tp, sp, training.seq_length, eight_bit)
    tokens = training.micro_batch_size * training.seq_length
    micro_batch: Counter[str] = Counter()
    for part in stage_layers(model, parallel, training.seq_length)[components.grid.pp.rank]:
        micro_batch += micro_batch_traffic(model, sizes, part, tokens, width)
    moments = (config.optimizer.exp_avg_dtype, config.optimizer.exp_avg_sq_dtype)
    step = step_traffic(
        components.data_parallel.grads.numel(),
        sum(shard.grad_rows.numel() for shard in components.data_parallel.shards),
        width,
        sum(param_dtype(moment).itemsize for moment in moments),
        sum(p.numel() for chunk in components.chunks for p in chunk.blocks.parameters() if p.dim() == 2)
        if eight_bit
        else 0,
    )
    return micro_batch, step


def price(config: RunConfig, layout: Layout, name: str, card: Card, trace: RankTrace) -> Prediction:
    """The step of one rank on a card, extrapolated to the run's micro-batches."""
    training = config.training
    few, many = trace.steps
    extra = many.micro_batches - few.micro_batches
    micro_batch = Costs.of(many.operations, card)
    micro_batch.add(Costs.of(few.operations, card), -1.0)
    micro_batch = micro_batch.scaled(1.0 / extra)
    step = Costs.of(few.operations, card)
    step.add(micro_batch, -few.micro_batches)
    step = step.without_empty()
    assert training.global_batch_size is not None
    count = training.global_batch_size // (training.micro_batch_size * layout.dp)
    tokens = training.global_batch_size * training.seq_length
    messages = message_sums(trace, card, count)
    chunks = 1 if layout.vpp is None else max(config.model.num_layers // layout.pp // layout.vpp, 1)
    flops = model_flops(config.model, training.seq_length)

    def speed(step_seconds: float, each: float) -> Speed:
        """Of a step whose operations take so long once, and for each micro-batch."""
        exposed, bubble = exposed_seconds(messages, each), (layout.pp - 1) / chunks * each
        whole = step_seconds + count * each + exposed + bubble
        rate = tokens / (whole * layout.world_size)  # tokens/s of a card
        return Speed(
            whole,
            mfu_full=flops.total * rate / card.peak,
            mfu_causal=flops.total_causal * rate / card.peak,
            share_of_roof=flops.total_causal * rate / card.matmul,
            exposed_seconds=exposed,
            bubble_seconds=bubble,
        )

    minimum = Counter({kind: count * size for kind, size in trace.minimum[0].items()}) + trace.minimum[1]
    between = [kind for kind in (*micro_batch.kinds, *step.kinds) if kind not in (MATMUL, ATTENTION)]
    moved = sum(
        times * costs.kinds[kind].moved
        for costs, times in ((micro_batch, count), (step, 1))
        for kind in dict.fromkeys(between)
        if kind in costs.kinds
    )
    return Prediction(
        card=name,
        layout=layout.name,
        devices=layout.world_size,
        tokens=tokens,
        micro_batches=count,
        roofs=speed(step.seconds, micro_batch.seconds),
        expected=speed(step.expected_seconds, micro_batch.expected_seconds),
        traffic_bytes=int(moved),
        traffic_minimum_bytes=sum(minimum.values()),
        peak_bytes=trace.peak,
        micro_batch=micro_batch,
        step=step,
        micro_batch_minimum=trace.minimum[0],
        step_minimum=trace.minimum[1],
        messages={key: sums[:3] for key, sums in messages.items()},
    )


def message_sums(trace: RankTrace, card: Card, count: int) -> dict[tuple[str, str], tuple[float, float, float, float]]:
    """By axis and kind the calls, bytes sent and seconds of a step's messages; and the seconds in backward passes."""
    few, many = trace.steps
    extra, found = many.micro_batches - few.micro_batches, {}
    for axis in dict.fromkeys(trace.axes.values()):
        for kind in dict.fromkeys(message.kind for message in many.messages):
            sums = [_sum(step.messages, trace.axes, axis, kind, card) for step in (few, many)]
            each = [(b - a) / extra for a, b in zip(*sums, strict=True)]
            whole = tuple(a + (count - few.micro_batches) * e for a, e in zip(sums[0], each, strict=True))
            if whole[0]:
                found[axis, kind] = whole
    return found


def exposed_seconds(messages: Mapping[tuple[str, str], tuple[float, float, float, float]], micro_batch: float) -> float:
    """Seconds of a step's messages that nothing hides, where a micro-batch takes so long.

    Data parallel hides behind the last backward and the first forward pass, tensor parallel behind half of its own
    backward messages, a pipeline's sends behind the passes of other micro-batches.
    """
    exposed = 0.0
    for (axis, _kind), (_, _, seconds, hideable) in messages.items():
        if axis == "tp":
            exposed += seconds - OVERLAP * hideable
        elif axis == "dp":
            exposed += max(seconds - micro_batch / 3, 0.0)
        elif axis != "pp":
            exposed += seconds
    return exposed


def _sum(
    messages: Sequence[Message], axes: dict[tuple[int, ...], str], axis: str, kind: str, card: Card
) -> tuple[float, float, float, float]:
    """(Calls, bytes sent, seconds, of them in backward passes)."""
    chosen = [m for m in messages if axes.get(m.ranks) == axis and m.kind == kind]
    seconds = [LATENCY_SECONDS + m.wire_bytes / card.link for m in chosen]
    backward = sum(s for s, m in zip(seconds, chosen, strict=True) if m.backward)
    return len(chosen), sum(m.wire_bytes for m in chosen), sum(seconds), backward
