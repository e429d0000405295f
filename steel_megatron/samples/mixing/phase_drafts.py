"""Phases as a person writes them, and what follows for the share of each source.

A person gives a source of a phase a weight, or a budget in epochs or tokens. A budget is spread evenly over the phase:
its source's share is the budget's samples divided by the phase's, and the sources with weights divide the rest. So the
order stays what :mod:`steel_megatron.samples.mixing.mixture` makes of shares, and a budget is met to within its bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from steel_megatron.config import ConfigError
from steel_megatron.samples.mixing.phases import Phase, check_starts, checked_phases

AMOUNTS = ("weight", "epochs", "tokens")
RAMP_STEPS = 64  # a ramp is a staircase of so many equal steps: within 1/128 of the line between its ends


@dataclass(frozen=True)
class Amount:
    """How much of a source a phase reads; ``kind`` is one of ``AMOUNTS``."""

    kind: str
    value: Fraction


@dataclass(frozen=True)
class PhaseDraft:
    """A phase from sample ``start`` on.

    ``until`` is the sample up to which budgets are spread; None: the start of the next phase, or the end of the run.
    Over the first ``ramp`` samples the shares move in a line from those before the phase to its own.
    """

    start: int
    amounts: dict[str, Amount]
    until: int | None = None
    ramp: int = 0

    @property
    def budgets(self) -> dict[str, Amount]:
        return {name: amount for name, amount in self.amounts.items() if amount.kind != "weight"}

    @property
    def weights(self) -> dict[str, Fraction]:
        return {name: amount.value for name, amount in self.amounts.items() if amount.kind == "weight"}


def draft_of_weights(weights: Mapping[str, Fraction]) -> PhaseDraft:
    """A phase from the first sample on."""
    return PhaseDraft(0, {name: Amount("weight", weight) for name, weight in weights.items()})


def resolve_phases(
    drafts: Sequence[PhaseDraft], windows: Mapping[str, int], seq_length: int, total_samples: int
) -> list[Phase]:
    """The phases with the share of each source.

    What holds before a phase does not depend on that phase or on later ones, except that the length of a phase with
    budgets and no ``until`` ends with the next.

    Args:
        windows: source → its number of windows, where a phase gives it epochs.
        seq_length: tokens of a sample.
        total_samples: length of the run.

    Raises:
        ConfigError: budgets and their phase do not fit together.
    """
    check_starts([draft.start for draft in drafts])
    phases: list[Phase] = []
    for number, draft in enumerate(drafts):
        end = drafts[number + 1].start if number + 1 < len(drafts) else None
        where = f"phase {number + 1}, from sample {draft.start:,}"
        shares = _shares(draft, where, windows, seq_length, end, total_samples)
        if draft.ramp:
            if not phases:
                raise ConfigError(f"{where}: a ramp", rule="a ramp begins at the mixture of an earlier phase")
            before = phases[-1].shares
            phases += [step for step in _ramp(draft, before, shares) if end is None or step.start < end]
        if end is None or draft.start + draft.ramp < end:
            phases.append(Phase(draft.start + draft.ramp, shares))
    return checked_phases(phases)


def _shares(
    draft: PhaseDraft, where: str, windows: Mapping[str, int], seq_length: int, end: int | None, total_samples: int
) -> dict[str, Fraction]:
    weights, budgets = draft.weights, draft.budgets
    if not budgets:
        if draft.until is not None:
            raise ConfigError(f"{where}: 'until' without a budget", rule="'until' is the end of epochs and tokens")
        return Phase.of(0, weights).shares
    if draft.ramp:
        raise ConfigError(
            f"{where}: a ramp and a budget of {', '.join(sorted(budgets))}",
            rule="a phase with epochs or tokens has the same shares from its start to its end",
            fix="give the sources of this phase weights, or leave the ramp out",
        )
    samples = {name: _samples(name, amount, where, windows, seq_length) for name, amount in budgets.items()}
    spent = sum(samples.values(), Fraction(0))
    last = total_samples if end is None else end
    until = draft.until
    if not weights:
        if until is not None:
            raise ConfigError(f"{where}: 'until', but every source has a budget", rule="the budgets tell the length")
        until = draft.start + int(spent)
    elif until is None:
        until = max(last, draft.start + 1)
    if last > until:
        raise ConfigError(
            f"{where}: its budgets are read by sample {until:,}, the phase goes on to sample {last:,}",
            rule="a phase with epochs or tokens ends where they do",
            fix=f"add a phase 'from: {until}'" + ("" if weights else ", or give one source a weight instead"),
        )
    length = spent if not weights else Fraction(until - draft.start)
    if weights and spent >= length:
        raise ConfigError(
            f"{where}: budgets of {float(spent):,.0f} samples in a phase of {float(length):,.0f}",
            rule="epochs and tokens leave room for the sources with weights",
            fix="lower the budgets, or begin the next phase later",
        )
    rest = (length - spent) / sum(weights.values()) if weights else Fraction(0)
    found = {name: count / length for name, count in samples.items()}
    found |= {name: weight * rest / length for name, weight in weights.items()}
    return dict(sorted(found.items()))


def _samples(name: str, amount: Amount, where: str, windows: Mapping[str, int], seq_length: int) -> Fraction:
    if amount.kind == "tokens":
        return amount.value / seq_length
    if name not in windows:
        raise ConfigError(
            f"{where}: epochs of source {name!r}, whose data was not opened",
            rule="the length of an epoch is known from the data, or from a checkpoint of the run",
            fix="bring the data back",
        )
    return amount.value * windows[name]


def _ramp(draft: PhaseDraft, before: Mapping[str, Fraction], after: Mapping[str, Fraction]) -> list[Phase]:
    """The steps of a ramp; each has the shares of its middle, so that the ramp's average is that of the line."""
    steps = min(RAMP_STEPS, draft.ramp)
    phases = []
    for step in range(steps):
        part = Fraction(2 * step + 1, 2 * steps)
        names = sorted({*before, *after})
        shares = {name: before.get(name, Fraction(0)) * (1 - part) + after.get(name, 0) * part for name in names}
        phases.append(Phase(draft.start + draft.ramp * step // steps, shares))
    return phases
