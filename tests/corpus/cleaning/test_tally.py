"""What a run counts: the same whole in whatever way the work was shared out."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.corpus.cleaning.tally import SAMPLE_CHARACTERS, SAMPLES, Tally, bin_edges, bin_of

EVENTS = st.lists(
    st.tuples(st.sampled_from(["web", "wiki"]), st.floats(0, 1), st.sampled_from(["", "short", "long"])), max_size=60
)


def tally_of(events: list[tuple[int, tuple[str, float, str]]]) -> Tally:
    tally = Tally.of(1)
    for number, (source, value, reason) in events:
        tally.records += 1
        tally.pass_on(source, 0, 1, number, 2)
        tally.measure(0, "ratio", value)
        if reason:
            tally.drop("filter", reason, number * 7919 % 101, {"id": f"{number}", "content": "x"})
        else:
            tally.pass_on(source, 1, 1, number, 2)
            tally.documents += 1
    return tally


@given(EVENTS, st.integers(0, 60))
def test_two_parts_add_up_to_the_whole(events: list[tuple[str, float, str]], cut: int) -> None:
    numbered = list(enumerate(events))
    joined = Tally.of(1)
    for part in (numbered[cut:], numbered[:cut]):
        joined.add(tally_of(part))
    whole = tally_of(numbered)
    assert asdict(joined) == asdict(whole)
    assert whole.records == whole.documents + whole.dropped


@pytest.mark.parametrize("scale", ["ratio", "count"])
@given(st.floats(0, 1e12))
def test_a_number_lies_in_its_bin(scale: str, value: float) -> None:
    value = value / 1e12 if scale == "ratio" else value
    low, high = bin_edges(bin_of(value, scale), scale)
    assert low * (1 - 1e-8) <= value <= high * (1 + 1e-8)


def test_samples_are_those_of_lowest_rank_and_cut() -> None:
    tally = Tally.of(0)
    for rank in range(100, 0, -1):
        tally.drop("op", "why", rank, {"id": str(rank), "content": "x" * 9999})
    assert [rank for rank, _ in tally.samples["op"]] == list(range(1, SAMPLES + 1))
    assert {len(drop["content"]) for _, drop in tally.samples["op"]} == {SAMPLE_CHARACTERS}
    assert tally.dropped == 100
