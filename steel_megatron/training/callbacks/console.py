"""What a person sees while a run goes: a line per log interval, and a progress bar on a terminal."""

from __future__ import annotations

import datetime
import logging
import math
import sys

from tqdm import tqdm

from steel_megatron.training.intervals import every
from steel_megatron.training.loop import Callback, Metrics, Trainer

log = logging.getLogger(__name__)


class Console(Callback):
    """Prints on the main rank only: every ``interval`` steps (0: never) and the last one."""

    def __init__(self, interval: int, show_progress: bool) -> None:
        self.interval = interval
        self.show_progress = show_progress
        self.bar: tqdm | None = None
        self.seconds = self.waited = 0.0  # since the last line

    def on_start(self, trainer: Trainer) -> None:
        if self.show_progress:
            self.bar = tqdm(
                total=trainer.components.batch_size.total_steps,
                initial=trainer.state.step,
                desc="training",
                unit="step",
                file=sys.stderr,
                dynamic_ncols=True,
            )

    def on_step_end(self, trainer: Trainer) -> None:
        if self.bar is not None:
            self.bar.update(1)

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        self.seconds += sum(row["step_seconds"] for row in rows)
        self.waited += sum(row["data_wait"] for row in rows)
        last = rows[-1]
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {last['loss']:.3f}", refresh=False)
        step, total = trainer.state.step, trainer.components.batch_size.total_steps
        if every(self.interval, step) or step == total or "valid_loss" in last or trainer.stop_reason:
            self.write(line(last, total, self.waited / max(self.seconds, 1e-9)))
            self.seconds = self.waited = 0.0

    def on_end(self, trainer: Trainer) -> None:
        if trainer.stop_reason:
            self.write(f"stopped at step {trainer.state.step}: {trainer.stop_reason}")

    def write(self, text: str) -> None:
        tqdm.write(text, file=sys.stdout) if self.bar is not None else print(text, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def line(metrics: Metrics, total: int, data_wait: float) -> str:
    """One readable line of a step; ``data_wait`` is the share of the time spent waiting on data."""
    width = len(str(total))
    parts = [f"step {metrics['step']:>{width}}/{total}", f"loss {metrics['loss']:.4f}"]
    if "valid_loss" in metrics:
        parts.append(f"valid loss {metrics['valid_loss']:.4f}")
    parts += [f"lr {metrics['lr']:.3e}", f"grad norm {metrics['grad_norm']:.3f}"]
    if metrics["skipped"]:
        reason = f"loss scale {metrics['loss_scale']:g}" if math.isfinite(metrics["loss"]) else "loss is not finite"
        parts.append(f"SKIPPED ({reason})")
    parts.append(f"{metrics['tokens_per_second']:,.0f} tok/s")
    if metrics["mfu"] is None:
        parts.append(f"{metrics['tflops_per_device']:.3g} TFLOP/s per device")
    else:
        parts.append(f"MFU {metrics['mfu']:.1%}")
    parts += [
        f"{metrics['memory_gb']:.1f} GB",
        f"data wait {data_wait:.1%}",
        f"{metrics['consumed_tokens']:,} tokens",
        f"ETA {datetime.timedelta(seconds=round(metrics['eta_seconds']))}",
    ]
    return " | ".join(parts)
