"""Proof that every layout computes the same training run: the same model trained on each, and compared.

A layout is a text such as ``tp2,pp2,dp2`` with options: ``sp`` (sequence parallel), ``vpp1`` (layers per virtual
stage), ``gpipe``, ``full`` or ``selective`` (recomputation), ``nozero`` (optimizer not sharded), ``mbs4``
(micro-batch), ``compile`` (blocks under torch.compile).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import ConfigError, RunConfig, check_layout, check_run, nearest
from steel_megatron.model.slices import model_slices
from steel_megatron.optim.batch_size import BatchSize
from steel_megatron.parallel.grid import Grid
from steel_megatron.tokens.indexed import IndexedWriter
from steel_megatron.tokens.token_type import best_dtype
from steel_megatron.training.loop import Callback, Metrics, Trainer
from steel_megatron.training.startup.setup import build_components, build_data
from steel_megatron.training.state import RunState

# Tolerances in fp32: relative for loss and gradient norm, absolute for weights.
LOSS, GRADIENT_NORM, WEIGHTS = 1e-5, 1e-4, 1e-5
NUMBERED = ("tp", "pp", "dp", "vpp", "mbs")
SWITCHES = ("sp", "gpipe", "full", "selective", "nozero", "compile")


@dataclass(frozen=True)
class Layout:
    """One way to spread the run."""

    name: str
    tp: int = 1
    pp: int = 1
    dp: int = 1
    vpp: int | None = None
    mbs: int | None = None
    switches: frozenset[str] = frozenset()

    @property
    def world_size(self) -> int:
        return self.tp * self.pp * self.dp

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Reads ``tp2,pp2,dp2,sp``.

        Raises:
            ConfigError: an unknown word; the nearest known one is named.
        """
        numbers: dict[str, Any] = {}
        switches = set()
        for word in text.replace(" ", "").split(","):
            letters = word.rstrip("0123456789")
            digits = word[len(letters) :]
            if letters in NUMBERED and digits and int(digits) > 0:
                numbers[letters] = int(digits)
            elif word in SWITCHES:
                switches.add(word)
            else:
                known = [*NUMBERED, *SWITCHES]
                raise ConfigError(
                    f"layout {text!r}: {word!r}",
                    rule=f"a layout joins {', '.join(f'{name}N' for name in NUMBERED)} and {', '.join(SWITCHES)}",
                    fix=nearest(letters, known),
                )
        return cls(text, switches=frozenset(switches), **numbers)

    def apply(self, config: RunConfig) -> RunConfig:
        """The configuration on this layout."""
        return config.replace(
            tensor_model_parallel_size=self.tp,
            pipeline_model_parallel_size=self.pp,
            num_layers_per_virtual_pipeline_stage=self.vpp,
            sequence_parallel="sp" in self.switches,
            use_distributed_optimizer="nozero" not in self.switches,
            pipeline_schedule="gpipe" if "gpipe" in self.switches else "1f1b",
            recompute_granularity=next((s for s in ("full", "selective") if s in self.switches), "none"),
            micro_batch_size=self.mbs or config.training.micro_batch_size,
            compile_blocks="compile" in self.switches,
        )


@dataclass
class Outcome:
    """What a layout computed, and how far it is from one process."""

    layout: str
    losses: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    loss_difference: float = 0.0  # largest, relative
    norm_difference: float = 0.0  # largest, relative
    weight_difference: float = 0.0  # largest, absolute
    seconds: float = 0.0
    error: str = ""

    @property
    def agrees(self) -> bool:
        """Within the tolerances."""
        return (
            not self.error
            and self.loss_difference <= LOSS
            and self.norm_difference <= GRADIENT_NORM
            and self.weight_difference <= WEIGHTS
        )


def default_layouts(world_size: int) -> list[Layout]:
    """Every sensible combination up to a number of processes; the layouts with one process come first."""
    texts = ["dp1,full", "dp1,selective", "dp1,mbs1"]
    for size in (2, 4, 8):
        if size <= world_size:
            texts += [f"dp{size}", f"dp{size},nozero", f"tp{size}", f"tp{size},sp", f"pp{size}", f"pp{size},gpipe"]
    if world_size >= 2:
        texts += ["pp2,vpp1", "pp2,full", "pp2,gpipe,full", "pp2,vpp1,full", "pp2,selective,mbs1", "tp2,sp,full"]
    if world_size >= 4:
        texts += [
            "tp2,dp2",
            "tp2,sp,dp2,nozero",
            "pp2,dp2",
            "pp2,dp2,nozero",
            "pp2,vpp1,dp2",
            "tp2,sp,pp2",
            "tp2,pp2,vpp1",
        ]
    if world_size >= 8:
        texts += [
            "tp2,pp2,dp2",
            "tp2,sp,pp2,dp2",
            "tp2,sp,pp2,vpp1,dp2",
            "tp2,sp,pp2,dp2,nozero,full",
            "tp4,sp,dp2",
            "pp4,dp2,selective",
        ]
    return [Layout.parse(text) for text in texts]


def fits(layout: Layout, config: RunConfig) -> str:
    """Why a model cannot be divided like that; empty if it can."""
    on_it = layout.apply(config)
    try:
        check_layout(on_it.model, on_it.parallel, layout.world_size)
    except ConfigError as error:
        return error.given
    return ""


def write_sample_data(folder: Path, vocabulary: int) -> str:
    """Random documents of random lengths; returns the dataset's prefix."""
    random = np.random.default_rng(5)
    prefix = folder / "tokens"
    with IndexedWriter(prefix, best_dtype(vocabulary)) as writer:
        for _ in range(400):
            writer.add_document(random.integers(0, vocabulary, random.integers(5, 60)))
    return str(prefix)


class StepRecorder(Callback):
    """Keeps what each step measured."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        self.outcome.losses += [row["loss"] for row in rows]
        self.outcome.gradient_norms += [row["grad_norm"] for row in rows]


def run_layout(config: RunConfig, grid: Grid, layout: Layout, weights: Path) -> Outcome:
    """Trains on a layout (collective on the grid) and saves the weights as step 0 of a store at ``weights``."""
    config = layout.apply(config)
    whole = config.training.global_batch_size
    assert whole is not None
    if layout.mbs is None and layout.pp == 1:
        # Two micro-batches: enough to add gradients up, where each more would cost as many messages per layer again.
        config = config.replace(micro_batch_size=max(whole // (2 * layout.dp), 1))
    config = check_run(config, grid.world.size)
    outcome = Outcome(layout.name)
    batch_size = BatchSize(config.training)
    state = RunState()
    datasets = build_data(config, grid, None, batch_size, state)
    try:
        components = build_components(config, grid, batch_size, datasets, initialise=True)
        Trainer(config, components, state, [StepRecorder(outcome)]).fit()
        components.data_parallel.wait_parameters()
        CheckpointStore(weights).save(0, model_slices(components.chunks), {})
    finally:
        datasets.close()
    return outcome


def compare(outcome: Outcome, reference: Outcome, weights: Path, reference_weights: Path) -> Outcome:
    """Fills in the differences to the run on one process."""
    outcome.loss_difference = _relative(outcome.losses, reference.losses)
    outcome.norm_difference = _relative(outcome.gradient_norms, reference.gradient_norms)
    outcome.weight_difference = _largest(
        float((one - other).abs().max())
        for one, other in _pairs(CheckpointStore(weights), CheckpointStore(reference_weights))
    )
    return outcome


def _pairs(one: CheckpointStore, other: CheckpointStore) -> Iterator[tuple[Tensor, Tensor]]:
    names = sorted(other.tensors(0))
    if names != sorted(one.tensors(0)):
        raise ConfigError(f"{one.root} holds other tensors than {other.root}", rule="both hold the whole model")
    for (_, left), (_, right) in zip(one.read_tensors(0, names), other.read_tensors(0, names), strict=True):
        yield left, right


def _relative(found: Sequence[float], expected: Sequence[float]) -> float:
    if len(found) != len(expected):
        return math.inf
    return _largest(abs(a - b) / max(abs(b), 1e-30) for a, b in zip(found, expected, strict=True))


def _largest(differences: Iterable[float]) -> float:
    """NaN where one of them is, which Python's max passes over; 0 for none."""
    return float(np.max(list(differences), initial=0.0))


def certificate(outcomes: Iterable[Outcome], facts: dict[str, Any]) -> dict[str, Any]:
    """What ``steel verify`` writes: versions, layouts, tolerances and the largest differences."""
    listed = list(outcomes)
    return {
        "agrees": all(outcome.agrees for outcome in listed),
        "torch": torch.__version__,
        **facts,
        "tolerances": {"loss (relative)": LOSS, "gradient norm (relative)": GRADIENT_NORM, "weights": WEIGHTS},
        "largest differences": {
            "loss": _largest(outcome.loss_difference for outcome in listed),
            "gradient norm": _largest(outcome.norm_difference for outcome in listed),
            "weights": _largest(outcome.weight_difference for outcome in listed),
        },
        "layouts": [dataclasses.asdict(outcome) | {"agrees": outcome.agrees} for outcome in listed],
    }
