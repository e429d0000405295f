"""The data of a run without its model, for commands that look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from steel_megatron.checkpoint.foreign import refuse_foreign
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import ConfigError, RunConfig, load_run_config
from steel_megatron.config.sample_ranges import parse_ranges
from steel_megatron.optim.batch_size import BatchSize, Level, Reached, past_levels
from steel_megatron.samples.build import Datasets, build_datasets
from steel_megatron.samples.skips import Skips
from steel_megatron.samples.sources import TokenizerFacts
from steel_megatron.training.output.metrics_rows import read_metrics


@dataclass(frozen=True)
class RunPosition:
    """How far a run has come in the order of its samples: by its newest checkpoint, and by its metrics."""

    consumed_samples: int = 0
    checkpoint_samples: int = 0
    phases: Sequence[Mapping[str, Any]] = field(default_factory=list)  # as the checkpoint has them
    tokenizer_fingerprint: str | None = None
    batches: tuple[Reached, Sequence[Level]] = (Reached(), ())  # of the checkpoint: what the run has used, and how


def config_of(run: Path) -> RunConfig:
    """The effective configuration of a run, from its folder."""
    if not (run / "config.yaml").is_file():
        refuse_foreign(run, "--run")
        raise ConfigError(f"no file {run / 'config.yaml'}", rule="a run's folder is what its --save named")
    return load_run_config(run / "config.yaml")


def skips_of(config: RunConfig) -> Skips:
    """The samples that a run leaves out."""
    return Skips(parse_ranges(config.data.skip_samples))


def position_of(run: Path) -> RunPosition:
    """Reads the facts of the newest checkpoint and the last line of the metrics."""
    store = CheckpointStore(run)
    steps = store.steps()
    facts = store.facts(steps[-1]) if steps else {}
    skips = skips_of(config_of(run)) if (run / "config.yaml").is_file() else Skips()
    saved = skips.frontier(facts["state"]["consumed_samples"]) if facts else 0
    metrics = run / "metrics.jsonl"
    rows = read_metrics(metrics) if metrics.is_file() else []
    seen = max((skips.frontier(row["consumed_samples"]) for row in rows[-1:]), default=0)
    batches = past_levels(facts) if facts else (Reached(), [])
    return RunPosition(max(saved, seen), saved, facts.get("phases", []), facts.get("tokenizer_fingerprint"), batches)


def batch_sizes(config: RunConfig, position: RunPosition) -> BatchSize:
    """The global batch over the run; one process is assumed where the configuration leaves it open."""
    training = config.training
    if training.global_batch_size is None:
        training = replace(training, global_batch_size=training.micro_batch_size)
    if (training.train_iters is None) == (training.train_samples is None):
        raise ConfigError("no length of the run, or two", fix="give --train-iters or --train-samples")
    return BatchSize(training, *position.batches)


def open_data(config: RunConfig, position: RunPosition, *, from_sample: int) -> Datasets:
    """The training data as the run sees it from a sample on; nothing reads ahead."""
    sizes = batch_sizes(config, position)
    return build_datasets(
        config.replace(eval_iters=0, num_workers=0, global_batch_size=sizes.full),
        total_samples=sizes.total_samples,
        tokenizer=TokenizerFacts(position.tokenizer_fingerprint, config.model.vocab_size),
        consumed_samples=from_sample,
        recorded_phases=position.phases,
    )
