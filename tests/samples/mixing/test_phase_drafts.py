"""Budgets and ramps: what follows for the shares, and that the past does not depend on what comes after."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import ConfigError
from steel_megatron.samples.mixing.mixture import BOUND
from steel_megatron.samples.mixing.phase_drafts import RAMP_STEPS, Amount, PhaseDraft, resolve_phases
from steel_megatron.samples.mixing.phases import Phase
from steel_megatron.samples.order import Order

LENGTH = 16
WINDOWS = {"books": 37, "code": 11, "web": 400, "wiki": 23}


def draft(start: int = 0, until: int | None = None, ramp: int = 0, **amounts: Any) -> PhaseDraft:
    """Weights as numbers, budgets as ("epochs", 2) or ("tokens", 500)."""
    pairs = {name: given if isinstance(given, tuple) else ("weight", given) for name, given in amounts.items()}
    return PhaseDraft(start, {n: Amount(kind, Fraction(str(value))) for n, (kind, value) in pairs.items()}, until, ramp)


def counts(drafts: list[PhaseDraft], samples: int, total: int) -> dict[str, int]:
    return Order(1, resolve_phases(drafts, WINDOWS, LENGTH, total), WINDOWS).counts(samples)


def test_budgets_are_met_and_weights_divide_the_rest() -> None:
    drafts = [draft(web=3, books=1, wiki=("epochs", 2), code=("tokens", 1600))]
    found = counts(drafts, 500, total=500)
    rest = 500 - 46 - 100
    wanted = {"wiki": 46, "code": 100, "web": rest * 3 / 4, "books": rest / 4}
    assert all(abs(found[name] - wanted[name]) < BOUND for name in wanted)


@given(
    st.integers(200, 5000),
    st.dictionaries(st.sampled_from(["books", "code", "wiki"]), st.fractions(Fraction(1, 10), 1), min_size=1),
    st.integers(0, 300),
)
def test_a_budget_is_met_in_a_phase_of_any_length(length: int, epochs: dict[str, Fraction], start: int) -> None:
    first = [draft(web=1)] if start else []
    drafts = [*first, draft(start, web=1, **{name: ("epochs", value) for name, value in epochs.items()})]
    found = counts(drafts, start + length, total=start + length)
    for name, value in epochs.items():
        assert abs(found[name] - value * WINDOWS[name]) < 2 * BOUND


def test_budgets_alone_give_the_length() -> None:
    drafts = [draft(wiki=("epochs", 1), code=("epochs", 3)), draft(56, web=1)]
    assert counts(drafts, 56, total=900) == {"web": 0, "wiki": 23, "code": 33}
    with pytest.raises(ConfigError, match=r"read by sample 56, the phase goes on to sample 57[\s\S]*from: 56"):
        resolve_phases(drafts[:1], WINDOWS, LENGTH, 57)
    assert resolve_phases(drafts[:1], WINDOWS, LENGTH, 30) == resolve_phases(drafts[:1], WINDOWS, LENGTH, 56)


@pytest.mark.parametrize(
    ("drafts", "says"),
    [
        ([draft(web=1, wiki=("epochs", 5))], r"115 samples in a phase of 100[\s\S]*lower the budgets"),
        ([draft(web=1, until=50, wiki=("epochs", 1))], "by sample 50, the phase goes on to sample 100"),
        ([draft(web=1, until=80, wiki=("epochs", 1)), draft(81, web=1)], "on to sample 81"),
        ([draft(web=1, until=50)], "'until' without a budget"),
        ([draft(wiki=("epochs", 5), until=50)], "every source has a budget"),
        ([draft(web=1, ramp=5)], "a ramp begins at"),
        ([draft(web=1), draft(9, web=1, wiki=("epochs", 1), ramp=5)], "a ramp and a budget of wiki"),
        ([draft(web=1, gone=("epochs", 1))], "epochs of source 'gone'"),
    ],
)
def test_what_does_not_fit_is_refused(drafts: list[PhaseDraft], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        resolve_phases(drafts, WINDOWS, LENGTH, 100)


def test_a_ramp_moves_in_a_line() -> None:
    phases = resolve_phases([draft(web=1), draft(100, ramp=6400, web=1, code=3)], WINDOWS, LENGTH, 10_000)
    assert len(phases) == 1 + RAMP_STEPS + 1
    assert phases[-1] == Phase.of(6500, {"web": 1, "code": 3})
    order = Order(1, phases, WINDOWS)
    for sample in range(100, 6501, 50):
        line = 0.75 * (sample - 100) ** 2 / (2 * 6400)  # the integral of the share
        assert abs(order.counts(sample)["code"] - line) < 2 + BOUND * ((sample - 100) // 100 + 1)
    assert order.counts(6500)["code"] == pytest.approx(2400, abs=20)


def test_a_short_ramp_has_a_step_per_sample() -> None:
    phases = resolve_phases([draft(web=1), draft(10, ramp=2, code=1)], WINDOWS, LENGTH, 100)
    assert [(phase.start, phase.shares.get("code", 0)) for phase in phases] == [
        (0, 0),
        (10, Fraction(1, 4)),
        (11, Fraction(3, 4)),
        (12, 1),
    ]


def test_a_ramp_cut_by_the_next_phase_is_left_from_where_it_was() -> None:
    phases = resolve_phases([draft(web=1), draft(10, ramp=8, code=1), draft(14, ramp=4, web=1)], WINDOWS, LENGTH, 100)
    shares = [phase.shares.get("code", Fraction(0)) for phase in phases]
    assert shares[:5] == [0, *(Fraction(n, 16) for n in (1, 3, 5, 7))]
    assert shares[5:] == [Fraction(7, 16) * part for part in (Fraction(n, 8) for n in (7, 5, 3, 1))] + [0]


names = st.sampled_from(sorted(WINDOWS))
mixtures = st.dictionaries(names, st.fractions(Fraction(1, 20), 20), min_size=1)


@st.composite
def histories(draw: st.DrawFn) -> list[PhaseDraft]:
    drafts, start = [], 0
    for number, mixture in enumerate(draw(st.lists(mixtures, min_size=1, max_size=3))):
        drafts.append(draft(start, ramp=draw(st.integers(0, 150)) if number else 0, **mixture))
        start += draw(st.integers(1, 150))
    return drafts


@given(histories(), mixtures, st.integers(1, 200), st.integers(0, 100), st.integers(0, 2**31))
def test_a_phase_added_changes_nothing_before_it(
    drafts: list[PhaseDraft], mixture: dict[str, Fraction], gap: int, ramp: int, seed: int
) -> None:
    start = drafts[-1].start + gap
    longer = [*drafts, draft(start, ramp=ramp, **mixture)]
    before, after = (Order(seed, resolve_phases(d, WINDOWS, LENGTH, 10**6), WINDOWS) for d in (drafts, longer))
    assert [before.at(n) for n in range(start)] == [after.at(n) for n in range(start)]
    assert before.at(10**12) == before.at(10**12)


def test_until_keeps_the_past_when_a_phase_is_added_or_the_run_grows() -> None:
    first = draft(web=1, wiki=("epochs", 1), until=100)
    alone = resolve_phases([first], WINDOWS, LENGTH, 100)
    assert resolve_phases([first, draft(60, web=1)], WINDOWS, LENGTH, 500)[0] == alone[0]
    open_ended = draft(web=1, wiki=("epochs", 1))
    assert resolve_phases([open_ended], WINDOWS, LENGTH, 100) == alone
    assert resolve_phases([open_ended, draft(60, web=1)], WINDOWS, LENGTH, 500)[0] != alone[0]
