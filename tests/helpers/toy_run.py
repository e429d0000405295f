"""The toy model trained by this package's optimizer."""

from __future__ import annotations

from typing import Any

from helpers.toy_model import ToyModel, toy_batch
from steel_megatron.config import OptimizerConfig, TrainingConfig
from steel_megatron.optim.optimizer import Optimizer
from steel_megatron.parallel.data import DataParallel
from steel_megatron.parallel.mesh import Mesh
from steel_megatron.parallel.spec import param_dtype

SAMPLES, STEPS, LR = 4, 4, 0.05
SCALE = 1.0 / (SAMPLES * 8)  # one over the tokens of a batch


class Run:
    """A toy model with its optimizer."""

    def __init__(self, mesh: Mesh, *, precision: str = "fp32", tied: bool = False, shard: bool = True, **knobs: Any):
        self.mesh = mesh
        self.model = ToyModel(mesh, tied=tied, dtype=param_dtype(precision))
        self.data_parallel = DataParallel([self.model], mesh, shard=shard, bucket_size=200)
        names = ("clip_grad", "weight_decay", "exp_avg_dtype", "exp_avg_sq_dtype")
        fields = {name: knobs.pop(name) for name in names if name in knobs}
        training = TrainingConfig(precision=precision, **knobs)
        self.optimizer = Optimizer(self.data_parallel, OptimizerConfig(**fields), training, mesh)

    def backward(self, step: int) -> None:
        tokens, labels = toy_batch(SAMPLES, seed=step)
        own = SAMPLES // self.mesh.dp.size
        rows = slice(self.mesh.dp.rank * own, (self.mesh.dp.rank + 1) * own)
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
