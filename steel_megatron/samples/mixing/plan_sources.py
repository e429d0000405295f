"""What the data flags ask for: sources, phases and division, before any dataset is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steel_megatron.config import ConfigError, DataConfig
from steel_megatron.samples.mixing.phase_drafts import PhaseDraft, draft_of_weights
from steel_megatron.samples.mixing.phases_file import parse_data_path, read_phases


@dataclass(frozen=True)
class SourcePlan:
    """Sources of training or of validation."""

    paths: dict[str, str]  # source → prefix
    drafts: list[PhaseDraft]  # empty: one phase with weights in proportion to the windows
    split: str | None  # shares of documents; None: every document

    def needed_from(self, sample: int, *, first_phase: bool = False) -> list[str]:
        """The sources of phases that are not over at a sample, and of the first phase if asked for."""
        if not self.drafts:
            return list(self.paths)
        ends = [draft.start + draft.ramp for draft in self.drafts[1:]]  # a ramp still reads the mixture before it
        open_phases = [
            draft for draft, end in zip(self.drafts, [*ends, None], strict=True) if end is None or end > sample
        ]
        if first_phase:
            open_phases.append(self.drafts[0])
        return sorted({name for draft in open_phases for name in draft.amounts})


def plan_training(data: DataConfig, seq_length: int) -> SourcePlan:
    """From ``--phases``, ``--data-path`` or ``--train-data-path``.

    Data of the first two is divided by ``--split`` unless ``--valid-data-path`` gives validation its own.

    Raises:
        ConfigError: none of the three, or more than one.
    """
    flags = {"--phases": data.phases, "--data-path": data.data_path, "--train-data-path": data.train_data_path}
    given = [flag for flag, value in flags.items() if value]
    if len(given) != 1:
        raise ConfigError(
            f"training data given by {' and '.join(given)}" if given else "no training data",
            rule="training data is given by one of --data-path, --train-data-path, --phases",
            fix="move all sources into the --phases file"
            if given
            else "for example --data-path data/corpus_text_document",
        )
    split = data.split if data.train_data_path is None and data.valid_data_path is None else None
    if data.phases:
        drafts, paths = read_phases(Path(data.phases), seq_length)
        return SourcePlan(paths, drafts, split)
    return _from_words(data.data_path or data.train_data_path or (), given[0], split)


def plan_validation(data: DataConfig) -> SourcePlan | None:
    """From ``--valid-data-path``; None when it is not given."""
    return _from_words(data.valid_data_path, "--valid-data-path", None) if data.valid_data_path else None


def _from_words(words: Sequence[str], flag: str, split: str | None) -> SourcePlan:
    paths, weights = parse_data_path(words, flag)
    return SourcePlan(paths, [draft_of_weights(weights)] if weights else [], split)
