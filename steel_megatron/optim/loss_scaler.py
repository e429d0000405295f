"""The loss scale that keeps fp16 gradients inside fp16's range."""

from __future__ import annotations

from typing import Any

from steel_megatron.config import SteelError, TrainingConfig

_PATIENCE = 50  # overflows in a row at the lowest scale before the run is given up


class LossScaleError(SteelError):
    """Gradients overflow fp16 whatever the loss scale."""


class LossScaler:
    """A number that the loss is multiplied by; dynamic for fp16, fixed if asked for, 1 otherwise.

    An overflowing step is skipped. After ``hysteresis`` of them the scale halves, and keeps halving at each further
    overflow; after ``loss_scale_window`` good steps in a row it doubles and the hysteresis is full again.
    """

    def __init__(self, training: TrainingConfig) -> None:
        self.fp16 = training.precision == "fp16"
        self.dynamic = self.fp16 and training.loss_scale is None
        fixed = training.loss_scale if self.fp16 and training.loss_scale is not None else 1.0
        self.scale = training.initial_loss_scale if self.dynamic else fixed
        self.lowest = training.min_loss_scale
        self.window = training.loss_scale_window
        self.hysteresis = training.hysteresis
        self.patience_left = self.hysteresis
        self.good_steps = 0
        self.overflows_in_a_row = 0

    def update(self, overflow: bool) -> None:
        """Takes note of one step.

        Raises:
            LossScaleError: gradients still overflow at the lowest scale.
        """
        self.overflows_in_a_row = self.overflows_in_a_row + 1 if overflow else 0
        if self.overflows_in_a_row >= _PATIENCE and (not self.dynamic or self.scale <= self.lowest):
            raise LossScaleError(
                f"{self.overflows_in_a_row} steps in a row overflowed fp16 at loss scale {self.scale:g}",
                rule="gradients are finite at the lowest scale",
                fix="the run has diverged: go back to an earlier checkpoint, lower --lr, or use --bf16",
            )
        if not self.dynamic:
            return
        if overflow:
            self.good_steps = 0
            self.patience_left -= 1
            if self.patience_left <= 0:
                self.scale = max(self.scale / 2.0, self.lowest)
        else:
            self.good_steps += 1
            if self.good_steps == self.window:
                self.good_steps = 0
                self.patience_left = self.hysteresis
                self.scale *= 2.0

    def scalars(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "scale": self.scale,
            "patience_left": self.patience_left,
            "good_steps": self.good_steps,
            "overflows_in_a_row": self.overflows_in_a_row,
        }

    def load_scalars(self, saved: dict[str, Any]) -> None:
        """Brings back :meth:`scalars`; a run that is not dynamic keeps its own scale."""
        if not self.dynamic:
            return
        self.scale = float(saved["scale"])
        self.patience_left = int(saved["patience_left"])
        self.good_steps = int(saved["good_steps"])
        self.overflows_in_a_row = int(saved["overflows_in_a_row"])
