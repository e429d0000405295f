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
from steel_megatron.config.instruction_set import (
    INSTRUCTION_SET_VARIABLE,
    INSTRUCTION_SETS,
    check_instruction_set,
)
from steel_megatron.config.load import load_run_config, preset_names, run_config_text
from steel_megatron.config.logging import LoggingConfig
from steel_megatron.config.model import ModelConfig
from steel_megatron.config.optimizer import OptimizerConfig
from steel_megatron.config.parallel import ParallelConfig
from steel_megatron.config.ranges import (
    AMOUNT,
    COUNT,
    ID,
    IDS,
    POSITIVE,
    PROCESSES,
    Amount,
    Number,
    Range,
    above,
    add_number,
    at_least,
    check_range,
    exact_number,
    share,
)
from steel_megatron.config.registry import Registry, shipped_in
from steel_megatron.config.run import KNOBS, SECTIONS, RunConfig
from steel_megatron.config.texts import parse_yaml, read_text
from steel_megatron.config.training import TrainingConfig

__all__ = [
    "AMOUNT",
    "COUNT",
    "ID",
    "IDS",
    "INSTRUCTION_SETS",
    "INSTRUCTION_SET_VARIABLE",
    "KNOBS",
    "POSITIVE",
    "PROCESSES",
    "SECTIONS",
    "Amount",
    "CheckpointConfig",
    "CheckpointError",
    "ConfigError",
    "DataConfig",
    "DataError",
    "DeviceMemoryError",
    "LoggingConfig",
    "ModelConfig",
    "Number",
    "OptimizerConfig",
    "ParallelConfig",
    "Parser",
    "Range",
    "Registry",
    "RunConfig",
    "StalledRunError",
    "SteelError",
    "StorageError",
    "TrainingConfig",
    "above",
    "add_number",
    "add_run_flags",
    "at_least",
    "check_batch",
    "check_instruction_set",
    "check_layout",
    "check_range",
    "check_run",
    "exact_number",
    "load_run_config",
    "nearest",
    "parse_yaml",
    "preset_names",
    "read_text",
    "run_config_text",
    "share",
    "shipped_in",
]
