"""Builds a run from its configuration: data, rank grid, model, optimizer, and the state it starts from."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import RunConfig, check_run, save_run_config
from steel_megatron.dataset.build import Datasets, build_datasets
from steel_megatron.dataset.loader import Loader
from steel_megatron.model.gpt import GPT
from steel_megatron.optim.batch_size import BatchSize
from steel_megatron.optim.optimizer import Optimizer
from steel_megatron.optim.schedule import LearningRate
from steel_megatron.parallel.data import DataParallel
from steel_megatron.parallel.mesh import Mesh
from steel_megatron.parallel.spec import param_dtype, parameters_with_spec

log = logging.getLogger(__name__)


@dataclass
class Parts:
    """What a trainer works with."""

    mesh: Mesh
    model: GPT
    data_parallel: DataParallel
    optimizer: Optimizer
    learning_rate: LearningRate
    batch_size: BatchSize
    train_data: Loader
    valid_data: Loader | None
    phases: list[dict[str, Any]]  # the data order's phases, as a checkpoint keeps them
    tokenizer_fingerprint: str | None
