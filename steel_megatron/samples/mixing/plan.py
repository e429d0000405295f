"""What a mixture comes to over a run: tokens and epochs of each source, and when each has been read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from steel_megatron.jobs.tables import plain_table
from steel_megatron.samples.order import Order

MAX_EPOCHS = 100  # of a source whose ends are looked for
MAX_STRETCHES = 12  # printed in full
HEAD = 4  # of the stretches printed where there are more, as many at the end


@dataclass(frozen=True)
class SourceShare:
    """One source over the whole run.

    ``epoch_ends`` are the counts of samples of the run after which every window of the source has been read once,
    twice, …; at most ``MAX_EPOCHS`` of them.
    """

    name: str
    windows: int
    samples: int
    epochs: float
    epoch_ends: tuple[int, ...]


@dataclass(frozen=True)
class PhaseShares:
    """A stretch of the run and the shares in it; a ramp is many of them."""

    start: int
    end: int
    shares: dict[str, float]
    samples: dict[str, int]


@dataclass(frozen=True)
class MixPlan:
    """A run's mixture in numbers."""

    seq_length: int
    total_samples: int
    sources: tuple[SourceShare, ...]
    phases: tuple[PhaseShares, ...]

    @property
    def tokens(self) -> int:
        return self.total_samples * self.seq_length


def plan_mixture(order: Order, seq_length: int, total_samples: int) -> MixPlan:
    """The plan of a run of ``total_samples``, by arithmetic: it reads no data.

    Args:
        order: of the run, with the windows of every source that the plan shall tell the epochs of.
    """
    starts = [phase.start for phase in order.phases if phase.start < total_samples]
    phases = []
    for phase, start, end in zip(order.phases, starts, [*starts[1:], total_samples], strict=False):
        before, after = order.counts(start), order.counts(end)
        shares = {name: float(share) for name, share in phase.shares.items()}
        phases.append(PhaseShares(start, end, shares, {name: after[name] - before[name] for name in shares}))
    totals = order.counts(total_samples)
    sources = tuple(_source(order, name, totals, total_samples) for name in order.names)
    return MixPlan(seq_length, total_samples, sources, tuple(phases))


def _source(order: Order, name: str, totals: Mapping[str, int], total_samples: int) -> SourceShare:
    windows, samples = order.windows.get(name, 0), totals[name]
    epochs = min(samples // windows, MAX_EPOCHS) if windows else 0
    ends: list[int] = []
    for epoch in range(1, epochs + 1):
        ends.append(first_sample_with(order, name, epoch * windows, ends[-1] if ends else 0, total_samples))
    return SourceShare(name, windows, samples, samples / windows if windows else 0.0, tuple(ends))


def first_sample_with(order: Order, name: str, count: int, low: int, high: int) -> int:
    """The least number of samples of the run, in [low, high], among which the source has ``count``."""
    while low < high:
        middle = (low + high) // 2
        if order.counts(middle)[name] >= count:
            high = middle
        else:
            low = middle + 1
    return low


def plan_text(plan: MixPlan, step_at: Callable[[int], int]) -> str:
    """The plan for reading.

    Args:
        step_at: the step that a sample of the run belongs to, counted from 0.
    """
    lines = [f"run: {plan.total_samples:,} samples of {plan.seq_length:,} tokens, {plan.tokens:,} tokens", ""]
    rows = [("source", "tokens once", "tokens read", "share", "epochs", "read once by")]
    for source in plan.sources:
        once = f"{source.windows * plan.seq_length:,}" if source.windows else "not opened"
        ends = [f"{end * plan.seq_length:,} tokens (step {step_at(end - 1) + 1:,})" for end in source.epoch_ends[:1]]
        share = source.samples / max(plan.total_samples, 1)
        rows.append(
            (
                source.name,
                once,
                f"{source.samples * plan.seq_length:,}",
                f"{100 * share:.2f} %",
                f"{source.epochs:.3f}" if source.windows else "?",
                ends[0] if ends else ("not in this run" if source.windows else "?"),
            )
        )
    lines.append(plain_table(rows))
    lines += ["", f"{len(plan.phases)} stretches of one mixture each:"]
    shown = plan.phases if len(plan.phases) <= MAX_STRETCHES else [*plan.phases[:HEAD], *plan.phases[-HEAD:]]
    for number, phase in enumerate(shown):
        if len(plan.phases) > MAX_STRETCHES and number == HEAD:
            lines.append(f"  … {len(plan.phases) - 2 * HEAD} more (--json has all)")
        shares = ", ".join(f"{name} {100 * share:.2f} %" for name, share in phase.shares.items())
        lines.append(f"  samples {phase.start:,} to {phase.end:,}: {shares}")
    return "\n".join(lines)
