"""The plan of a mixture: its counts are those of the order itself."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.samples.mixing.phases import Phase
from steel_megatron.samples.mixing.plan import MAX_STRETCHES, plan_mixture, plan_text
from steel_megatron.samples.order import Order


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 60), st.integers(0, 120))
def test_the_plan_is_what_the_order_gives(weight: int, windows: int, start: int, total: int) -> None:
    phases = [Phase.of(0, {"web": 1}), Phase.of(start, {"web": 1, "wiki": weight})]
    order = Order(3, phases, {"web": windows, "wiki": 7})
    plan = plan_mixture(order, 16, total)
    places = [order.at(sample) for sample in range(total)]
    counted = Counter(place.source for place in places)
    assert {source.name: source.samples for source in plan.sources} == {n: counted[n] for n in order.names}
    assert plan.tokens == 16 * total
    for phase in plan.phases:
        inside = Counter(place.source for place in places[phase.start : phase.end])
        assert phase.samples == {name: inside[name] for name in phase.shares}
    for source in plan.sources:
        own = [sample + 1 for sample, place in enumerate(places) if place.source == source.name]
        assert list(source.epoch_ends) == own[source.windows - 1 :: source.windows]


def test_the_text_cuts_many_stretches_and_names_what_is_not_opened() -> None:
    phases = [Phase.of(10 * n, {"web": 1, "wiki": n + 1}) for n in range(MAX_STRETCHES + 1)]
    plan = plan_mixture(Order(1, phases, {"web": 5}), 100, 200)
    text = plan_text(plan, lambda sample: sample // 4)
    assert "run: 200 samples of 100 tokens, 20,000 tokens" in text
    assert "not opened" in text
    assert f"… {MAX_STRETCHES + 1 - 8} more" in text
    assert text.count("samples ") == 1 + 8
