"""What is kept and where a run starts from."""

from __future__ import annotations

from dataclasses import dataclass

from steel_megatron.config.knob import UNSAID, knob
from steel_megatron.config.ranges import AMOUNT, at_least
from steel_megatron.config.section import Section


@dataclass(frozen=True)
class CheckpointConfig(Section):
    """Saving, resuming and starting from given weights."""

    save: str | None = knob(
        None, "Folder of the run: checkpoints, metrics, tensorboard, configuration.", changed=UNSAID
    )
    load: str | None = knob(
        None,
        "Folder of a run to continue; an error if it has no checkpoint. Unset: --save is continued if it has one.",
        changed=UNSAID,
    )
    ckpt_step: int | None = knob(
        None,
        "Step to load; the newest whole one when unset. With --save alone the run goes back to it, once: what came "
        "later is set aside, and every further start continues the new branch.",
        changed=UNSAID,
        allowed=AMOUNT,
    )
    fresh_start: bool = knob(
        False, "Set aside, once, all that --save holds of a run, and start from the beginning.", changed=UNSAID
    )
    branch: str | None = knob(
        None,
        "A name for what --ckpt-step or --fresh-start begins; under a new name it goes back to the same step again.",
        changed=UNSAID,
    )
    pretrained_checkpoint: str | None = knob(None, "Start a new run from these weights only.", changed=UNSAID)
    finetune: bool = knob(False, "With --load: weights only, step and data from the beginning.", changed=UNSAID)
    override_checkpoint_model: bool = knob(
        False,
        "Take up a checkpoint with other options that change what its weights compute (RoPE, norm epsilon, dropout).",
        changed=UNSAID,
    )
    no_load_optim: bool = knob(False, "Do not load the optimizer's state.", changed=UNSAID)
    no_load_rng: bool = knob(False, "Do not load random states.", changed=UNSAID)
    save_interval: int | None = knob(
        1000, "Steps between checkpoints.", unit="steps", allowed=at_least(0, zero="at the end alone")
    )
    save_interval_in_mins: float | None = knob(
        None,
        "Also save when this time has passed since the last checkpoint; never by time when unset.",
        unit="minutes",
        allowed=at_least(0, zero="never by time"),
    )
    strict_saves: bool = knob(
        False,
        "Stop at a checkpoint that cannot be written; off: warn, and try again at the next interval. The last one of a "
        "run always has to be written.",
    )
    save_retain: int | None = knob(
        None, "Keep this many of the newest checkpoints; all when unset.", allowed=at_least(0, zero="all")
    )
    save_retain_interval: int | None = knob(
        None, "Always keep checkpoints at multiples of this step.", unit="steps", allowed=at_least(0, zero="none")
    )
