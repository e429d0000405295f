"""The configuration of one run: every section together."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from steel_megatron.config.checkpoint import CheckpointConfig
from steel_megatron.config.data import DataConfig
from steel_megatron.config.knob import Knob, knobs_of
from steel_megatron.config.logging import LoggingConfig
from steel_megatron.config.model import ModelConfig
from steel_megatron.config.optimizer import OptimizerConfig
from steel_megatron.config.parallel import ParallelConfig
from steel_megatron.config.training import TrainingConfig


@dataclass
class RunConfig:
    """All sections of a run. Knob names are unique over the sections."""

    model: ModelConfig = field(default_factory=ModelConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain nested dictionary, as written to ``config.yaml``."""
        return dataclasses.asdict(self)

    def set(self, name: str, value: Any) -> None:
        """Sets a knob by its name alone."""
        setattr(getattr(self, KNOBS[name].section), name, value)

    def get(self, name: str) -> Any:
        """The value of a knob by its name alone."""
        return getattr(getattr(self, KNOBS[name].section), name)


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
