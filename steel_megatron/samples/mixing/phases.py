"""Phases: from which sample of the run on which sources are mixed with which weights.

A source is known by its name. Its folder may change, its place in a list has no meaning, and its count of samples goes
on from one phase to the next. The mixture of a phase starts anew at the phase's first sample, so what comes later
cannot change what came before.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from steel_megatron.config import CheckpointError, ConfigError, exact_number


@dataclass(frozen=True)
class Phase:
    """A mixture that holds from sample ``start`` until the next phase begins.

    ``shares`` are positive and sum to 1.
    """

    start: int
    shares: dict[str, Fraction]

    @classmethod
    def of(cls, start: int, weights: Mapping[str, Any]) -> Phase:
        """A phase from weights on any scale: numbers, or text such as ``0.3`` or ``1/3``."""
        exact = {name: exact_weight(weight, name) for name, weight in sorted(weights.items())}
        total = sum(exact.values(), Fraction(0))
        return cls(start, {name: weight / total for name, weight in exact.items()})


@dataclass(frozen=True)
class SourceFacts:
    """What a checkpoint keeps of a source, to know it again; None where the data was not opened."""

    path: str
    windows: int | None = None
    fingerprint: str | None = None


def exact_weight(weight: Any, name: str, kind: str = "weight") -> Fraction:
    """A weight, or another positive number, as the rational number that it is written as: 0.1 is one tenth."""
    try:
        exact = None if isinstance(weight, bool) else exact_number(str(weight))
    except ValueError:
        exact = None
    if exact is None or exact <= 0:
        raise ConfigError(
            f"{kind} {weight!r} of source {name!r}",
            rule=f"{kind} is a number above 0, such as 0.3, 20 or 1/3",
            fix="leave the source out of the phase to read nothing of it" if exact is not None else "",
        )
    return exact


def checked_phases(phases: Sequence[Phase]) -> list[Phase]:
    """Checks starts and drops phases that repeat the mixture before them.

    Raises:
        ConfigError: as of :func:`check_starts`.
    """
    check_starts([phase.start for phase in phases])
    kept = [phases[0]]
    for phase in phases[1:]:
        if phase.shares != kept[-1].shares:
            kept.append(phase)
    return kept


def check_starts(starts: Sequence[int]) -> None:
    """Checks the first samples of phases.

    Raises:
        ConfigError: no phase, the first not at sample 0, starts that do not ascend.
    """
    if not starts:
        raise ConfigError("no phases", rule="a run has at least one phase, from sample 0")
    if starts[0] != 0:
        raise ConfigError(
            f"the first phase is from sample {starts[0]:,}",
            rule="the first phase is from sample 0",
            fix="set its 'from' to 0 or leave it out",
        )
    for number, (before, start) in enumerate(itertools.pairwise(starts), start=2):
        if start <= before:
            raise ConfigError(
                f"phase {number} is from sample {start:,}, the one before it from {before:,}",
                rule="phases stand in the order of their first samples, which differ",
                fix="put the phases in order, or join the two",
            )


def phases_record(phases: Iterable[Phase], sources: Mapping[str, SourceFacts], seed: int) -> list[dict[str, Any]]:
    """The phases as plain JSON values, for a checkpoint."""
    return [
        {
            "from": phase.start,
            "seed": seed,
            "sources": {name: {"weight": str(share), **asdict(sources[name])} for name, share in phase.shares.items()},
        }
        for phase in phases
    ]


def phases_from_record(record: Sequence[Mapping[str, Any]]) -> list[Phase]:
    """The phases that :func:`phases_record` wrote."""
    return [
        Phase(entry["from"], {name: Fraction(source["weight"]) for name, source in entry["sources"].items()})
        for entry in record
    ]


def check_resume(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], consumed: int, cuts: Sequence[str] = ()
) -> None:
    """Allows any change of what is still to come, and none of what the run has used.

    Args:
        old: the record in the checkpoint (:func:`phases_record`).
        new: the record of the run that continues.
        consumed: samples used so far; phases may change from this sample on.
        cuts: what is known to have changed of the way in which samples are cut ("--seq-length was 16, is 32").

    Raises:
        CheckpointError: the seed or a mixture before ``consumed`` differs, or a name stands for other data than it did.
    """
    if consumed == 0:
        return
    if old[0]["seed"] != new[0]["seed"]:
        raise CheckpointError(
            f"--seed was {old[0]['seed']}, is {new[0]['seed']}",
            rule="the order of samples follows from the seed and stays as it is over a run",
            fix=f"use --seed {old[0]['seed']}, or start a new run in another --save folder",
        )
    past_old = [phase for phase in phases_from_record(old) if phase.start < consumed]
    past_new = [phase for phase in phases_from_record(new) if phase.start < consumed]
    for number in range(max(len(past_old), len(past_new))):
        was = past_old[number] if number < len(past_old) else None
        now = past_new[number] if number < len(past_new) else None
        if was != now:
            raise CheckpointError(
                f"phase {number + 1} of the data has changed: was {_mixture(was)}; is {_mixture(now)}",
                rule=f"the {consumed:,} samples that the run has used keep their mixture",
                fix=f"give the old phases as they were and add one 'from: {consumed}' or later (--phases FILE; 'steel "
                "mix add'), set 'until' to its old end in a phase with epochs or tokens, or start a new run in another "
                "--save folder",
            )
    used = {name for phase in past_old for name in phase.shares}
    known_old, known_new = _facts(old), _facts(new)
    for name in sorted(used & known_new.keys()):
        for fact in ("windows", "fingerprint"):
            was_fact, now_fact = known_old[name][fact], known_new[name][fact]
            if None not in (was_fact, now_fact) and was_fact != now_fact:
                if fact == "windows" and cuts:
                    raise CheckpointError(
                        f"{'; '.join(cuts)}: source {name!r} ({known_new[name]['path']}) had {was_fact:,} samples, has "
                        f"{now_fact:,}",
                        rule="a source that the run has used keeps its data, its --split, --seq-length and --packing",
                        fix=f"take the old values; or, to go on with samples of another kind, name the source anew in "
                        f"a phase 'from: {consumed}' (docs/data_order.md)",
                    )
                raise CheckpointError(
                    f"source {name!r} ({known_new[name]['path']}) holds other data than before: "
                    f"{fact} was {was_fact}, is {now_fact}",
                    rule="a source that the run has used keeps its data, its --split, --seq-length and --packing",
                    fix=f"bring the old data back, or give the new data another name in a phase 'from: {consumed}'",
                )


def _facts(record: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {name: source for phase in record for name, source in phase["sources"].items()}


def _mixture(phase: Phase | None) -> str:
    if phase is None:
        return "not there"
    shares = ", ".join(f"{name} {float(share):.6g}" for name, share in phase.shares.items())
    return f"from sample {phase.start:,} {shares}"
