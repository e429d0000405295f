"""AdamW on this rank's shards, with fp32 masters, exact clipping and the fp16 loss scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from steel_megatron.config import OptimizerConfig, TrainingConfig
from steel_megatron.ops import apex
from steel_megatron.ops.backends import choice
from steel_megatron.ops.native.optimizer import adamw_
from steel_megatron.optim.grad_norm import counted_gradients, gradient_norm, non_finite_error
from steel_megatron.optim.loss_scaler import LossScaler
from steel_megatron.parallel.data import DataParallel, Shard
from steel_megatron.parallel.mesh import Mesh
from steel_megatron.parallel.spec import Block, row_blocks, spec_of, without_padding

MASTER = "optimizer.master."  # before the layout-independent name, in a checkpoint


@dataclass(frozen=True)
class StepResult:
    """What a step did.

    ``grad_norm`` is the norm of the gradient of the mean loss, before clipping: fp64, a scalar on the device.
    ``loss_scale`` is the one this step's gradients were computed with.
    """

    grad_norm: Tensor
    skipped: bool
    loss_scale: float


@dataclass(frozen=True)
class Slot:
    """The optimizer's state of one shard; all of it is fp32 and has the shard's rows."""

    shard: Shard
    master: Tensor  # the parameter's own rows when the model is fp32
    exp_avg: Tensor
    exp_avg_sq: Tensor
    update_count: Tensor  # fp32 scalar


class Optimizer:
    """AdamW (Loshchilov and Hutter, 2019) over the shards of a :class:`DataParallel`.

    Weight decay applies to parameters whose spec says so. Gradients come in as sums; dividing them by the count of
    tokens, by the loss scale and by the clipping factor is one multiplication inside the fused kernel.
    """

    def __init__(
        self, data_parallel: DataParallel, config: OptimizerConfig, training: TrainingConfig, mesh: Mesh
    ) -> None:
        self.config = config
        self.mesh = mesh
        self.data_parallel = data_parallel
        self.scaler = LossScaler(training)
        self.stop_when_not_finite = training.check_for_nan_in_loss_and_grad and not self.scaler.fp16
        self.stopped = torch.zeros((), dtype=torch.bool, device=mesh.device)  # a norm was not finite
        self.steps = 0  # calls of step, skipped ones included
        self.updates = 0  # calls that changed the weights
        self.slots = [_slot(shard) for shard in data_parallel.shards]
        decayed = [spec_of(slot.shard.parameter).decay for slot in self.slots]
        self.groups = [
            (config.weight_decay, [slot for slot, decay in zip(self.slots, decayed, strict=True) if decay]),
            (0.0, [slot for slot, decay in zip(self.slots, decayed, strict=True) if not decay]),
        ]
        self._counted = counted_gradients(data_parallel.shards, mesh, data_parallel.sharded)

    @property
    def loss_scale(self) -> float:
        """What the loss is multiplied by before backward; 1 unless the model is fp16."""
        return self.scaler.scale

    @torch.no_grad()
    def step(self, lr: float, gradient_scale: Tensor | float) -> StepResult:
        """Updates this rank's rows of the parameters; :meth:`DataParallel.gather_parameters` brings the others'.

        In bf16 and fp32 nothing waits for the device: from the first norm on that is not finite no weight changes any
        more; whoever reads the norms tells :meth:`check`. In fp16 (and with ``--no-check-for-nan-in-loss-and-grad``)
        the host waits for the norm, skips the step where it is not finite, and adapts the loss scale.

        Args:
            lr: learning rate of this step.
            gradient_scale: what the summed gradients are multiplied by to be those of the mean loss. The loss scale is
                taken out on top of it. As a tensor: an fp64 scalar on the device.
        """
        self.steps += 1
        used_scale = self.scaler.scale
        grad_norm = gradient_norm(self._counted, self.mesh)
        factor = torch.ones_like(grad_norm) * gradient_scale / used_scale
        grad_norm = grad_norm * factor
        if self.config.clip_grad > 0.0:
            factor = factor * (self.config.clip_grad / grad_norm).clamp(max=1.0)
        finite = True
        if self.stop_when_not_finite:
            self.stopped |= ~grad_norm.isfinite()
        else:
            finite = math.isfinite(float(grad_norm))
        self.scaler.update(overflow=not finite)
        if finite:
            self._update(lr, factor.masked_fill(self.stopped, math.nan))
        return StepResult(grad_norm, not finite, used_scale)

    def check(self, step: int, grad_norm: float) -> None:
        """Tells the optimizer a norm that has been read; a collective call if it is not finite.

        Raises:
            NonFiniteGradientError: it is not, in bf16 and fp32. No weight has changed in that step or since.
        """
        if self.stop_when_not_finite and not math.isfinite(grad_norm):
            raise non_finite_error(self.data_parallel.shards, self.mesh, step)

    def _update(self, lr: float, factor: Tensor) -> None:
        """``factor``: what gradients are multiplied by, an fp64 scalar on the device; not a number: nothing changes."""
        self.updates += 1
        backend = self._backend()
        if backend == "steel":
            self._update_compiled(lr, factor)
            return
        divisor = factor.reciprocal().float()  # the kernel divides by its grad_scale
        skipped = factor.isnan().float()
        for decay, slots in self.groups:
            if not slots:
                continue
            config = self.config
            states = (
                [slot.master for slot in slots],
                [slot.shard.grad_rows.float() for slot in slots],
                [slot.exp_avg for slot in slots],
                [slot.exp_avg_sq for slot in slots],
            )
            if backend == "apex":
                betas = config.adam_beta1, config.adam_beta2
                apex.adamw_(*states, factor, lr, *betas, config.adam_eps, decay, self.updates)
                continue
            adamw(
                *states,
                [],
                [slot.update_count for slot in slots],
                fused=True,
                grad_scale=divisor,
                found_inf=skipped,
                amsgrad=False,
                beta1=config.adam_beta1,
                beta2=config.adam_beta2,
                lr=lr,
                weight_decay=decay,
                eps=config.adam_eps,
                maximize=False,
            )
        self._copy_masters()

    def _backend(self) -> str:
        if self.data_parallel.grads.dtype != torch.float32:
            return "torch"
        return choice("adamw", self.mesh.device.type).implementation

    def _update_compiled(self, lr: float, factor: Tensor) -> None:
        """One pass over each master, its moments and its gradient, which writes the model's weight as well."""
        config = self.config
        for own_master in (False, True):
            slots = [slot for slot in self.slots if (slot.master is not slot.shard.param_rows) == own_master]
            adamw_(
                [slot.shard.param_rows for slot in slots] if own_master else [],
                [slot.master for slot in slots],
                [slot.shard.grad_rows for slot in slots],
                [slot.exp_avg for slot in slots],
                [slot.exp_avg_sq for slot in slots],
                [spec_of(slot.shard.parameter).decay for slot in slots],
                factor,
                lr,
                config.adam_beta1,
                config.adam_beta2,
                config.adam_eps,
                config.weight_decay,
                self.updates,
            )

    def _copy_masters(self) -> None:
        for slot in self.slots:
            if slot.master is not slot.shard.param_rows:
                slot.shard.param_rows.copy_(slot.master)

    def blocks(self) -> dict[str, Block]:
        """The state as blocks of layout-independent tensors: ``optimizer.{exp_avg,exp_avg_sq,master}.{piece}``.

        Masters are there when the model is not fp32. The blocks are views: loading into them sets the state.
        """
        found = {}
        for slot in self.slots:
            states = {"exp_avg": slot.exp_avg, "exp_avg_sq": slot.exp_avg_sq}
            if slot.master is not slot.shard.param_rows:
                states["master"] = slot.master
            for kind, tensor in states.items():
                for piece, block in row_blocks(slot.shard.parameter, slot.shard.first_row, tensor):
                    real = without_padding(piece, block)
                    if real is not None:
                        found[f"optimizer.{kind}.{piece.name}"] = real
        return found

    def scalars(self) -> dict[str, Any]:
        """The rest of the state: plain numbers, the same on every rank."""
        return {"steps": self.steps, "updates": self.updates, "loss_scaler": self.scaler.scalars()}

    def load_scalars(self, saved: dict[str, Any]) -> None:
        """Brings back :meth:`scalars`."""
        self.steps, self.updates = int(saved["steps"]), int(saved["updates"])
        self.scaler.load_scalars(saved["loss_scaler"])
        for slot in self.slots:
            slot.update_count.fill_(self.updates)

    @torch.no_grad()
    def reload_parameters(self) -> None:
        """After loading the state's blocks: the weights become the masters' values, on all ranks."""
        self._copy_masters()
        self.data_parallel.gather_parameters()
        self.data_parallel.wait_parameters()

    @torch.no_grad()
    def reset_masters(self) -> None:
        """After loading weights alone: the masters become the weights' values."""
        for slot in self.slots:
            if slot.master is not slot.shard.param_rows:
                slot.master.copy_(slot.shard.param_rows)


def _slot(shard: Shard) -> Slot:
    rows = shard.param_rows
    return Slot(
        shard,
        rows if rows.dtype == torch.float32 else rows.float(),
        torch.zeros_like(rows, dtype=torch.float32),
        torch.zeros_like(rows, dtype=torch.float32),
        torch.zeros((), dtype=torch.float32, device=rows.device),
    )
