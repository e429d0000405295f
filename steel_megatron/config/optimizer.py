"""The optimizer and its learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from steel_megatron.config.choices import LrWsdDecayStyle, MomentType
from steel_megatron.config.errors import ConfigError
from steel_megatron.config.knob import knob
from steel_megatron.config.ranges import AMOUNT, COUNT, POSITIVE, at_least, share
from steel_megatron.config.registry import Registry, shipped_in
from steel_megatron.config.section import Section

# An entry is a pure function of a Moment (optim/decay.py), which gives the learning rate there.
DECAY_STYLES: Registry[Callable[..., float]] = Registry(
    "learning-rate schedule",
    "steel_megatron.schedules",
    {
        "constant": "steel_megatron.optim.decay:constant",
        "linear": "steel_megatron.optim.decay:linear",
        "cosine": "steel_megatron.optim.decay:cosine",
        "WSD": "steel_megatron.optim.decay:wsd",
        "inverse-square-root": "steel_megatron.optim.decay:inverse_square_root",
    },
    wanted="a function of a Moment that gives the learning rate",
    parameters=True,
)
# An entry is a subclass of Rule (optim/rule.py), called with this section and its parameters.
OPTIMIZERS: Registry[Callable[..., Any]] = Registry(
    "optimizer",
    "steel_megatron.optimizers",
    lambda: {"adam": "steel_megatron.optim.rules.adamw:RULE", **shipped_in("optim/rules", "RULE")()},
    wanted="a Rule",
    parameters=True,
)


@dataclass(frozen=True)
class OptimizerConfig(Section):
    """The optimizer, with decay on matrices only, and the schedule of its learning rate."""

    optimizer: str = knob("adam", "Rule by which weights are updated; adam and adamw are AdamW.", choices=OPTIMIZERS)
    lr: float = knob(4e-4, "Peak learning rate.", allowed=AMOUNT)
    min_lr: float = knob(4e-5, "Learning rate at the end of the decay.", allowed=AMOUNT)
    lr_decay_style: str = knob(
        "cosine",
        "Shape after warm-up.",
        choices=DECAY_STYLES,
    )
    lr_decay_iters: int | None = knob(
        None, "Step at which the decay ends; the run's end when unset.", unit="steps", allowed=COUNT
    )
    lr_decay_samples: int | None = knob(None, "Sample at which the decay ends.", unit="samples", allowed=COUNT)
    lr_decay_tokens: int | None = knob(None, "Token at which the decay ends.", unit="tokens", allowed=COUNT)
    lr_warmup_iters: int | None = knob(
        None, "Linear warm-up; the first step has lr/warm-up, not 0.", unit="steps", allowed=at_least(0, zero="none")
    )
    lr_warmup_samples: int | None = knob(None, "Linear warm-up.", unit="samples", allowed=at_least(0, zero="none"))
    lr_warmup_tokens: int | None = knob(None, "Linear warm-up.", unit="tokens", allowed=at_least(0, zero="none"))
    lr_warmup_fraction: float | None = knob(
        None, "Linear warm-up, as a share of the decay length.", allowed=share(one=False)
    )
    lr_warmup_init: float = knob(0.0, "Learning rate before the warm-up's first step.", allowed=AMOUNT)
    lr_wsd_decay_style: LrWsdDecayStyle = knob("1-sqrt", "Shape of WSD's decay.")
    lr_wsd_decay_iters: int | None = knob(
        None, "Length of WSD's decay; a tenth of the run when unset.", unit="steps", allowed=at_least(0, zero="none")
    )
    weight_decay: float = knob(0.1, "Decay of matrices (never of norms and biases).", allowed=at_least(0, zero="none"))
    adam_beta1: float = knob(0.9, "AdamW beta1.", allowed=share(one=False))
    adam_beta2: float = knob(0.95, "AdamW beta2.", allowed=share(one=False))
    adam_eps: float = knob(1e-8, "AdamW epsilon.", allowed=POSITIVE)
    exp_avg_dtype: MomentType = knob(
        "fp32", "Type in which AdamW's first moment is kept; bf16 is rounded stochastically."
    )
    exp_avg_sq_dtype: MomentType = knob(
        "fp32", "Type in which AdamW's second moment is kept; bf16 is rounded stochastically."
    )
    clip_grad: float = knob(1.0, "Largest norm of the global gradient.", allowed=at_least(0, zero="no clipping"))

    def check(self) -> None:
        super().check()
        for what in ("lr_warmup", "lr_decay"):
            names = [f"{what}_{unit}" for unit in ("iters", "samples", "tokens", "fraction")]
            given = [name for name in names if getattr(self, name, None)]
            if len(given) > 1:
                raise ConfigError(
                    " and ".join("--" + name.replace("_", "-") for name in given),
                    rule="the length is given in one unit",
                    fix="leave out all but one, in the run file too",
                )
        if self.min_lr > self.lr:
            raise ConfigError(
                f"--min-lr {self.min_lr} above --lr {self.lr}",
                rule="min-lr is at most lr",
                fix="lower --min-lr, or raise --lr",
            )
        if self.lr_warmup_init > self.lr:
            raise ConfigError(
                f"--lr-warmup-init {self.lr_warmup_init} above --lr {self.lr}",
                rule="the warm-up leads up to lr",
                fix="lower --lr-warmup-init",
            )
