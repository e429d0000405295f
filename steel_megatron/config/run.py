"""The configuration of one run: every section together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from steel_megatron.config.checkpoint import CheckpointConfig
from steel_megatron.config.data import DataConfig
from steel_megatron.config.knob import Knob, knobs_of
from steel_megatron.config.logging import LoggingConfig
from steel_megatron.config.model import ModelConfig
from steel_megatron.config.optimizer import OptimizerConfig
from steel_megatron.config.parallel import ParallelConfig
from steel_megatron.config.training import TrainingConfig


@dataclass(frozen=True)
class RunConfig:
    """All sections of a run. It never changes: :meth:`replace` makes another. Knob names are unique over sections."""

    model: ModelConfig = ModelConfig()
    parallel: ParallelConfig = ParallelConfig()
    training: TrainingConfig = TrainingConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    data: DataConfig = DataConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    logging: LoggingConfig = LoggingConfig()

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain nested dictionary, as written to ``config.yaml``."""
        return dataclasses.asdict(self, dict_factory=_with_lists)

    @classmethod
    def of(cls, **knobs: Any) -> RunConfig:
        """A run with some knobs given, by their names alone; what is not given has its default, or follows from others.

        Raises:
            KeyError: no knob has that name.
        """
        sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        for name, value in knobs.items():
            sections[KNOBS[name].section][name] = value
        run = cls(**{name: SECTIONS[name](**values) for name, values in sections.items()})
        if "max_position_embeddings" in knobs:
            return run
        return run.replace(max_position_embeddings=max(run.model.max_position_embeddings, run.training.seq_length))

    def replace(self, **knobs: Any) -> RunConfig:
        """The same run with other values of some knobs; nothing follows from them.

        Raises:
            KeyError: no knob has that name.
        """
        sections: dict[str, dict[str, Any]] = {}
        for name, value in knobs.items():
            sections.setdefault(KNOBS[name].section, {})[name] = value
        changed = {name: dataclasses.replace(getattr(self, name), **values) for name, values in sections.items()}
        return dataclasses.replace(self, **changed)

    def get(self, name: str) -> Any:
        """The value of a knob by its name alone."""
        return getattr(getattr(self, KNOBS[name].section), name)


def _with_lists(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A section as YAML and JSON have it."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in items}


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "parallel": ParallelConfig,
    "training": TrainingConfig,
    "optimizer": OptimizerConfig,
    "data": DataConfig,
    "checkpoint": CheckpointConfig,
    "logging": LoggingConfig,
}

KNOBS: dict[str, Knob] = {knob.name: knob for section, cls in SECTIONS.items() for knob in knobs_of(section, cls)}
