"""What a run tells while it goes."""

from __future__ import annotations

from dataclasses import dataclass

from steel_megatron.config.errors import ConfigError
from steel_megatron.config.knob import knob
from steel_megatron.config.ranges import AMOUNT, COUNT, POSITIVE, at_least
from steel_megatron.config.section import Section


@dataclass(frozen=True)
class LoggingConfig(Section):
    """Console, tensorboard, wandb and the profiler."""

    log_interval: int = knob(
        10,
        "Steps between console lines, and between readings of loss and gradient norm from the device.",
        unit="steps",
        allowed=at_least(0, zero="the last alone"),
    )
    tensorboard_dir: str | None = knob(None, "Tensorboard folder; SAVE/tensorboard when unset.")
    tensorboard: bool = knob(True, "Write tensorboard events.")
    wandb_project: str | None = knob(None, "Report to this Weights & Biases project, if wandb is installed.")
    wandb_exp_name: str | None = knob(None, "Name of the wandb run.")
    peak_tflops: float | None = knob(
        None,
        "Dense peak of one device in the training type, for MFU; known cards are looked up.",
        unit="TFLOP/s",
        allowed=POSITIVE,
    )
    profile: bool = knob(False, "Write a torch profiler trace of some steps.")
    profile_step_start: int = knob(10, "First step profiled.", unit="steps", allowed=COUNT)
    profile_step_end: int = knob(12, "Step at which profiling stops.", unit="steps", allowed=COUNT)
    profile_ranks: tuple[int, ...] = knob((0,), "Ranks that are profiled.", allowed=AMOUNT)

    def check(self) -> None:
        super().check()
        if self.profile and self.profile_step_end <= self.profile_step_start:
            raise ConfigError(
                f"--profile-step-start {self.profile_step_start} --profile-step-end {self.profile_step_end}",
                rule="profiling ends at a later step than it begins",
                fix=f"--profile-step-end {self.profile_step_start + 1} profiles one step",
            )
