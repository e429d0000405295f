"""Training, validation and test data of a run from its configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steel_megatron.config import ConfigError, DataConfig, DataError, RunConfig
from steel_megatron.config.sample_ranges import parse_ranges, written
from steel_megatron.samples.batches import BatchReader, DocumentOptions
from steel_megatron.samples.loader import Loader
from steel_megatron.samples.mixing.phase_drafts import resolve_phases
from steel_megatron.samples.mixing.phases import Phase, SourceFacts, phases_record
from steel_megatron.samples.mixing.plan_sources import SourcePlan, plan_training, plan_validation
from steel_megatron.samples.order import Order
from steel_megatron.samples.skips import NO_SKIPS, Skips
from steel_megatron.samples.sources import PackingOptions, Source, TokenizerFacts, check_tokenizer, open_source

log = logging.getLogger(__name__)


@dataclass
class Datasets:
    """What a run reads."""

    train: Loader
    valid: Loader | None
    test: Loader | None
    sources: dict[str, Source]  # of training
    phases: list[dict[str, Any]]  # for the checkpoint; see phases.check_resume
    tokenizer: TokenizerFacts
    total_samples: int  # that the run uses
    end: int  # one past the last of them in the order, which may leave some out

    def describe(self) -> str:
        """The training sources in numbers, one line each."""
        reader, order = self.train.reader, self.train.reader.order
        counts = reader.counts(self.total_samples)
        lines = [f"data: {len(order.names)} sources, {len(order.phases)} phases, {self.total_samples:,} samples"]
        if reader.skips.ranges:
            lines.append(f"  left out: samples {', '.join(written(reader.skips.ranges))}")
        for name in order.names:
            if name not in self.sources:
                lines.append(f"  {name}: {counts[name]:,} samples, all before this start (data not opened)")
                continue
            windows = self.sources[name].windows["train"]
            lines.append(
                f"  {name}: {windows.documents:,} documents, {windows.tokens:,} tokens, {len(windows):,} windows; "
                f"{counts[name]:,} samples of this run, {counts[name] / len(windows):.2f} epochs"
            )
        return "\n".join(lines)

    def close(self) -> None:
        """Stops the background threads."""
        for loader in (self.train, self.valid, self.test):
            if loader is not None:
                loader.close()


def build_datasets(
    config: RunConfig,
    *,
    total_samples: int,
    dp_rank: int = 0,
    dp_size: int = 1,
    device: torch.device | str = "cpu",
    tokenizer: TokenizerFacts | None = None,
    consumed_samples: int = 0,
    recorded_phases: Sequence[Mapping[str, Any]] = (),
    batch_size_at: Callable[[int], int] | None = None,
) -> Datasets:
    """Opens the data that the configuration names and checks that it can serve the run.

    Validation and test follow the mixture of the first phase, begin at their first sample every time they are read,
    and are the same on every layout.

    Args:
        config: its sections data and training; ``global_batch_size`` is set.
        total_samples: length of the run.
        dp_rank, dp_size: this rank's place among the data-parallel ranks.
        device: where batches are wanted.
        tokenizer: what is known of the model's tokenizer and vocabulary; the rest is taken from the manifests.
        consumed_samples: where in the order the run starts; data that only served phases before it need not be there.
        recorded_phases: of the checkpoint that the run continues, which knows data that is not there any more.
        batch_size_at: global batch size that begins at a sample, for reading ahead during a ramp-up.

    Raises:
        ConfigError, DataError: what is missing or does not fit.
    """
    training = config.training
    validating = training.eval_iters > 0
    plan = plan_training(config.data, training.seq_length)
    skips = Skips(parse_ranges(config.data.skip_samples))
    end = skips.frontier(total_samples)
    names = plan.needed_from(consumed_samples, first_phase=validating and plan.split is not None)
    packing = PackingOptions(config.data.packing == "best-fit", config.data.data_cache_path)
    sources = {
        name: open_source(name, plan.paths[name], training.seq_length, plan.split, packing=packing) for name in names
    }
    check_training_windows(sources.values(), training.seq_length)
    facts = source_facts(plan, sources, recorded_phases)
    windows = {name: fact.windows for name, fact in facts.items() if fact.windows is not None}
    phases = [Phase.of(0, windows)]
    if plan.drafts:
        phases = resolve_phases(plan.drafts, windows, training.seq_length, end)

    valid_sources, valid_phases = sources, phases
    if valid_plan := plan_validation(config.data):
        valid_sources = {
            name: open_source(name, path, training.seq_length, None, whole_for="valid", packing=packing)
            for name, path in valid_plan.paths.items()
        }
        valid_phases = [Phase.of(0, draft.weights) for draft in valid_plan.drafts]
    valid_mixture = held_out_mixture(valid_phases, valid_sources, "valid") if validating else None
    if validating and valid_mixture is None:
        raise nothing_to_validate_on(config, valid_sources.values())
    test_mixture = held_out_mixture(phases, sources, "test")

    opened = list({source.path: source for source in [*sources.values(), *valid_sources.values()]}.values())
    known = check_tokenizer(opened, tokenizer or TokenizerFacts())
    options = document_options(config.data, known, opened)
    held_out_end = training.eval_iters * (training.global_batch_size or training.micro_batch_size * dp_size)

    def loader(
        split: str, of: Mapping[str, Source], mixtures: list[Phase], end: int, left_out: Skips = NO_SKIPS, **more: Any
    ) -> Loader:
        windows = {name: source.windows[split] for name, source in of.items()}
        order = Order(training.seed, mixtures, {name: len(part) for name, part in windows.items()})
        return Loader(
            BatchReader(order, windows, training.seq_length, options, known.vocab_size, left_out),
            micro_batch_size=training.micro_batch_size,
            dp_rank=dp_rank,
            dp_size=dp_size,
            device=device,
            workers=config.data.num_workers,
            prefetch=config.data.prefetch,
            end=end,
            **more,
        )

    return Datasets(
        train=loader("train", sources, phases, total_samples, skips, batch_size_at=batch_size_at),
        valid=loader("valid", valid_sources, [valid_mixture], held_out_end) if valid_mixture else None,
        test=loader("test", sources, [test_mixture], held_out_end) if test_mixture else None,
        sources=sources,
        phases=phases_record(phases, facts, training.seed),
        tokenizer=known,
        total_samples=total_samples,
        end=end,
    )


def check_training_windows(sources: Iterable[Source], seq_length: int) -> None:
    """Refuses a source that has no training sample."""
    for source in sources:
        windows = source.windows["train"]
        if windows.documents == 0:
            raise DataError(
                f"{source.describe()}: no document for training",
                rule="every source of training has documents in its training split",
                fix="raise the first number of --split, or remove the source",
            )
        if len(windows) == 0:
            raise DataError(
                f"{source.describe()}: too short for one sample of --seq-length {seq_length}",
                rule=f"a sample takes {seq_length + 1} tokens, the last of them as label only",
                fix="lower --seq-length, raise the first number of --split, or join the source with another",
            )


def held_out_mixture(phases: Sequence[Phase], sources: Mapping[str, Source], split: str) -> Phase | None:
    """The first phase's mixture over the sources that have a window in the split; None if none has.

    Without a phase, sources count in proportion to their windows.
    """
    windows = {name: len(source.windows[split]) for name, source in sources.items() if split in source.windows}
    shares: Mapping[str, Any] = phases[0].shares if phases else windows
    usable = {name: share for name, share in shares.items() if windows.get(name, 0) > 0}
    if usable and len(usable) < len(shares):
        log.warning("no %s sample in %s", split, ", ".join(sorted(set(shares) - set(usable))))
    return Phase.of(0, usable) if usable else None


def nothing_to_validate_on(config: RunConfig, sources: Iterable[Source]) -> ConfigError:
    """The error for validation without data."""
    given = "; ".join(source.describe() for source in sources)
    return ConfigError(
        f"--eval-iters {config.training.eval_iters}, but no validation sample of --seq-length "
        f"{config.training.seq_length}: {given}",
        rule="validation has a sample of seq-length + 1 tokens or more",
        fix="raise the second number of --split, give --valid-data-path, or set --eval-iters 0",
    )


def document_options(data: DataConfig, facts: TokenizerFacts, sources: Iterable[Source]) -> DocumentOptions:
    """How documents are treated; refuses to mask the loss after tokens that the data does not have."""
    for source in sources:
        if data.eod_mask_loss and source.manifest is not None and not source.manifest.append_eod:
            raise ConfigError(
                f"--eod-mask-loss, but source {source.name!r} ({source.path}) was tokenised without --append-eod",
                rule="the flag needs an end-of-document token after each document",
                fix="tokenise the data with --append-eod, or leave --eod-mask-loss out",
            )
    return DocumentOptions(data.reset_position_ids, data.reset_attention_mask, data.eod_mask_loss, facts.eod_id)


def source_facts(
    plan: SourcePlan, sources: Mapping[str, Source], recorded: Sequence[Mapping[str, Any]]
) -> dict[str, SourceFacts]:
    """What the checkpoint keeps of each source of the plan; of one that was not opened, what the record knows."""
    before = {name: source for phase in recorded for name, source in phase["sources"].items()}
    facts = {}
    for name, path in plan.paths.items():
        kept = before.get(name, {})
        facts[name] = SourceFacts(path, kept.get("windows"), kept.get("fingerprint"))
    for name, source in sources.items():
        facts[name] = SourceFacts(source.path, len(source.windows["train"]), source.fingerprint)
    return facts
