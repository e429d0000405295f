"""Floor 0: every knob, typed, documented, checked."""

from steel_megatron.config.check import check_batch, check_layout, check_run
from steel_megatron.config.checkpoint import CheckpointConfig
from steel_megatron.config.data import DataConfig
from steel_megatron.config.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeviceMemoryError,
    StalledRunError,
    SteelError,
    StorageError,
    nearest,
)
from steel_megatron.config.flags import Parser, add_run_flags
from steel_megatron.config.load import load_run_config, preset_names, run_config_text
from steel_megatron.config.model import ModelConfig
from steel_megatron.config.optimizer import OptimizerConfig
from steel_megatron.config.parallel import ParallelConfig
from steel_megatron.config.ranges import (
    AMOUNT,
    COUNT,
    IDS,
    POSITIVE,
    PROCESSES,
    Amount,
    Range,
    add_number,
    at_least,
    exact_number,
    share,
)
from steel_megatron.config.run import KNOBS, RunConfig
from steel_megatron.config.texts import parse_yaml, read_text
from steel_megatron.config.training import TrainingConfig

__all__ = [
    "AMOUNT",
    "COUNT",
    "IDS",
    "KNOBS",
    "POSITIVE",
    "PROCESSES",
    "Amount",
    "CheckpointConfig",
    "CheckpointError",
    "ConfigError",
    "DataConfig",
    "DataError",
    "DeviceMemoryError",
    "ModelConfig",
    "OptimizerConfig",
    "ParallelConfig",
    "Parser",
    "Range",
    "RunConfig",
    "StalledRunError",
    "SteelError",
    "StorageError",
    "TrainingConfig",
    "add_number",
    "add_run_flags",
    "at_least",
    "check_batch",
    "check_layout",
    "check_run",
    "exact_number",
    "load_run_config",
    "nearest",
    "parse_yaml",
    "preset_names",
    "read_text",
    "run_config_text",
    "share",
]
