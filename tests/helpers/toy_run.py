"""The toy model trained by this package's optimizer."""

from __future__ import annotations

from typing import Any

from helpers.toy_model import ToyModel, toy_batch
from steel_megatron.config import OptimizerConfig, TrainingConfig
from steel_megatron.optim.optimizer import Optimizer
from steel_megatron.optim.rule import rule_of
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import param_dtype

SAMPLES, STEPS, LR = 4, 4, 0.05
SCALE = 1.0 / (SAMPLES * 8)  # one over the tokens of a batch


class Run:
    """A toy model with its optimizer."""

    def __init__(self, grid: Grid, *, precision: str = "fp32", tied: bool = False, shard: bool = True, **knobs: Any):
        self.grid = grid
        self.model = ToyModel(grid, tied=tied, dtype=param_dtype(precision))
        names = ("optimizer", "clip_grad", "weight_decay", "exp_avg_dtype", "exp_avg_sq_dtype")
        fields = {name: knobs.pop(name) for name in names if name in knobs}
        config, training = OptimizerConfig(**fields), TrainingConfig(precision=precision, **knobs)
        whole = rule_of(config).whole
        self.data_parallel = DataParallel([self.model], grid, shard=shard, bucket_size=200, whole=whole)
        self.optimizer = Optimizer(self.data_parallel, config, training, grid)

    def backward(self, step: int) -> None:
        tokens, labels = toy_batch(SAMPLES, seed=step)
        own = SAMPLES // self.grid.dp.size
        rows = slice(self.grid.dp.rank * own, (self.grid.dp.rank + 1) * own)
        self.data_parallel.zero_grads()
        self.data_parallel.last_micro_batch()
        (self.model.loss(tokens[rows], labels[rows]) * self.optimizer.loss_scale).backward()
        self.data_parallel.finish_grads()

    def step(self, step: int) -> float:
        self.backward(step)
        result = self.optimizer.step(LR, SCALE)
        assert not result.skipped
        self.data_parallel.gather_parameters()
        return float(result.grad_norm)

    def train(self, first: int = 0, last: int = STEPS) -> list[float]:
        norms = [self.step(step) for step in range(first, last)]
        self.data_parallel.wait_parameters()
        return norms
