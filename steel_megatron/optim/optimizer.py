"""A rule on this rank's shards, with fp32 masters, exact clipping and the fp16 loss scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steel_megatron.config import OptimizerConfig, TrainingConfig
from steel_megatron.optim.grad_norm import counted_gradients, gradient_norm, non_finite_error
from steel_megatron.optim.loss_scaler import LossScaler
from steel_megatron.optim.rule import Step, make_slot, rule_of
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import TensorSlice, row_slices, spec_of, without_padding

MASTER = "optimizer.master."  # before the layout-independent name, in a checkpoint


@dataclass(frozen=True)
class StepResult:
    """What a step did.

    ``grad_norm`` is the norm of the gradient of the mean loss, before clipping: fp64, a scalar on the device.
    ``loss_scale`` is the one this step's gradients were computed with. ``fault``: the step was skipped, and not since
    the loss scale was too high.
    """

    grad_norm: Tensor
    skipped: bool
    loss_scale: float
    fault: bool = False


class Optimizer:
    """The configuration's rule over the shards of a :class:`DataParallel`.

    Weight decay applies to parameters whose spec says so. Gradients come in as sums; dividing them by the count of
    tokens, by the loss scale and by the clipping factor is one multiplication inside the rule's kernel. A step:

        norm      fp64 scalar      over all ranks' shards, each element counted once
        factor    fp64 scalar      gradient scale / loss scale, and clip_grad / norm where that is less than 1
        slots     (rows, …) each   gradient × factor → states, master, weights: see :class:`Slot`
    """

    def __init__(
        self, data_parallel: DataParallel, config: OptimizerConfig, training: TrainingConfig, grid: Grid
    ) -> None:
        self.config = config
        self.grid = grid
        self.data_parallel = data_parallel
        self.scaler = LossScaler(training)
        self.checked = training.check_for_nan_in_loss_and_grad
        self.stop_when_not_finite = self.checked and not self.scaler.fp16 and not training.max_skipped_steps
        self.stopped = torch.zeros((), dtype=torch.bool, device=grid.device)  # a norm was not finite
        self.steps = 0  # calls of step, skipped ones included
        self.updates = 0  # calls that changed the weights
        self.rule = rule_of(config)
        shards = data_parallel.shards
        self.slots = [make_slot(part, self.rule.states(spec_of(part.parameter)), training.seed) for part in shards]
        self.rule.start(self.slots, grid)
        self._counted = counted_gradients(shards, grid)

    @property
    def loss_scale(self) -> float:
        """What the loss is multiplied by before backward; 1 unless the model is fp16."""
        return self.scaler.scale

    @torch.no_grad()
    def step(self, lr: float, gradient_scale: Tensor | float, loss: Tensor | None = None) -> StepResult:
        """Updates this rank's rows of the parameters; :meth:`DataParallel.gather_parameters` brings the others'.

        In bf16 and fp32 nothing waits for the device: from the first norm on that is not finite no weight changes any
        more; whoever reads the norms tells :meth:`check`. In fp16 (and with ``--no-check-for-nan-in-loss-and-grad`` or
        ``--max-skipped-steps``) the host waits for the norm, skips the step where it is not finite, and adapts the loss
        scale unless that is not at fault.

        Args:
            lr: learning rate of this step.
            gradient_scale: what the summed gradients are multiplied by to be those of the mean loss. The loss scale is
                taken out on top of it. As a tensor: an fp64 scalar on the device.
            loss: of this step, a scalar, the same on all ranks; looked at in fp16 where the norm is not finite.

        Raises:
            LossScaleError: see :meth:`LossScaler.update`.
        """
        self.steps += 1
        used_scale = self.scaler.scale
        grad_norm = gradient_norm(self._counted, self.grid)
        factor = torch.ones_like(grad_norm) * gradient_scale / used_scale
        grad_norm = grad_norm * factor
        if self.config.clip_grad > 0.0:
            factor = factor * (self.config.clip_grad / grad_norm).clamp(max=1.0)
        finite = True
        if self.stop_when_not_finite:
            self.stopped |= ~grad_norm.isfinite()
        else:
            finite = math.isfinite(float(grad_norm))
        fault = not finite and self.checked and not self._overflowed(loss)
        if not fault:
            self.scaler.update(overflow=not finite)
        if finite:
            self.updates += 1
            self.rule.update(Step(lr, factor.masked_fill(self.stopped, math.nan), self.updates))
        return StepResult(grad_norm, not finite, used_scale, fault)

    def _overflowed(self, loss: Tensor | None) -> bool:
        """Whether a lower loss scale may help: it cannot where the loss itself, which is not scaled, is not finite."""
        return self.scaler.fp16 and (loss is None or math.isfinite(float(loss)))

    def check(self, step: int, grad_norm: float) -> None:
        """Tells the optimizer a norm that has been read; a collective call if it is not finite.

        Raises:
            NonFiniteGradientError: it is not, in bf16 and fp32. No weight has changed in that step or since.
        """
        if self.stop_when_not_finite and not math.isfinite(grad_norm):
            raise non_finite_error(self.data_parallel.shards, self.grid, step)

    def slices(self) -> dict[str, TensorSlice]:
        """The state as blocks of layout-independent tensors: ``optimizer.{state}.{piece}``.

        The states are the rule's, and ``master`` when the model is not fp32. The blocks are views: loading into them
        sets the state.
        """
        found = {}
        for slot in self.slots:
            own = {"master": slot.master} if slot.own_master else {}
            for kind, tensor in (slot.states | own).items():
                for piece, block in row_slices(slot.shard.parameter, slot.shard.first_row, tensor):
                    n = block.tensor.dim()  # 1 for what is kept per row
                    real = without_padding(piece, TensorSlice(block.tensor, piece.global_shape[:n], block.offset[:n]))
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

    @torch.no_grad()
    def reload_parameters(self) -> None:
        """After loading the state's blocks: the weights become the masters' values, on all ranks."""
        for slot in self.slots:
            slot.copy_master()
        self.data_parallel.gather_parameters()
        self.data_parallel.wait_parameters()

    @torch.no_grad()
    def reset_masters(self) -> None:
        """After loading weights alone: the masters become the weights' values."""
        for slot in self.slots:
            if slot.own_master:
                slot.master.copy_(slot.shard.param_rows)
