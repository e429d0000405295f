from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import CheckpointError, ConfigError
from steel_megatron.samples.mixing.phases import (
    Phase,
    SourceFacts,
    check_resume,
    checked_phases,
    exact_weight,
    phases_from_record,
    phases_record,
)

FACTS = {name: SourceFacts(f"/data/{name}", 1000, "f-" + name) for name in ("wiki", "web", "code")}


def record(*phases: Phase, seed: int = 1, **facts: SourceFacts) -> list[dict]:
    # Through JSON, as a checkpoint does.
    return json.loads(json.dumps(phases_record(phases, FACTS | facts, seed)))


@pytest.mark.parametrize(
    ("given_weight", "exact"),
    [(0.1, "1/10"), (3, "3"), ("1/3", "1/3"), ("0.25", "1/4"), (1e-3, "1/1000"), ("2e-1", "1/5")],
)
def test_weights_are_exact(given_weight: object, exact: str) -> None:
    assert exact_weight(given_weight, "a") == Fraction(exact)


@pytest.mark.parametrize("weight", [0, -1, "x", None, True, float("nan"), float("inf"), "1/0", [1]])
def test_bad_weights_are_refused(weight: object) -> None:
    with pytest.raises(ConfigError, match=r"source 'a'[\s\S]*above 0"):
        exact_weight(weight, "a")


def test_shares_sum_to_one_whatever_the_scale() -> None:
    assert Phase.of(0, {"a": 1, "b": 3}) == Phase.of(0, {"b": 0.75, "a": 0.25})


def test_phases_must_ascend_from_zero() -> None:
    a, b = {"a": 1}, {"b": 1}
    with pytest.raises(ConfigError, match="first phase is from sample 5"):
        checked_phases([Phase.of(5, a)])
    with pytest.raises(ConfigError, match="phase 3 is from sample 9, the one before it from 9"):
        checked_phases([Phase.of(0, a), Phase.of(9, b), Phase.of(9, a)])
    with pytest.raises(ConfigError, match="no phases"):
        checked_phases([])


def test_a_repeated_mixture_is_no_new_phase() -> None:
    phases = [Phase.of(0, {"a": 1, "b": 1}), Phase.of(5, {"a": 2, "b": 2}), Phase.of(9, {"a": 1})]
    assert checked_phases(phases) == [phases[0], phases[2]]


weights = st.dictionaries(st.sampled_from(sorted(FACTS)), st.fractions(Fraction(1, 100), 100), min_size=1)


@given(st.lists(weights, min_size=1, max_size=4))
def test_record_round_trip(mixtures: list[dict[str, Fraction]]) -> None:
    phases = [Phase.of(10 * number, mixture) for number, mixture in enumerate(mixtures)]
    assert phases_from_record(record(*phases)) == phases


def test_a_weight_of_many_digits_is_read_from_a_record() -> None:
    exact = Fraction(13232496705282199136377013211758593, 992899500164544367419262186987790100)
    phases = [Phase.of(0, {"wiki": exact, "web": 1})]
    assert phases_from_record(record(*phases)) == phases


FIRST = Phase.of(0, {"wiki": 1, "web": 3})


@pytest.mark.parametrize(
    "new",
    [
        [FIRST],
        [FIRST, Phase.of(100, {"code": 1})],
        [FIRST, Phase.of(250, {"wiki": 1})],
        [FIRST, Phase.of(100, {"web": 1}), Phase.of(200, {"wiki": 1, "code": 5})],
    ],
)
def test_the_future_may_change(new: list[Phase]) -> None:
    check_resume(record(FIRST, Phase.of(300, {"web": 1})), record(*new), consumed=100)


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ([Phase.of(0, {"wiki": 2, "web": 3})], "phase 1"),
        ([Phase.of(0, {"wiki": 1, "code": 3})], "phase 1"),
        ([FIRST, Phase.of(99, {"code": 1})], r"phase 2 .*was not there; is from sample 99 code 1"),
        ([FIRST, Phase.of(10, {"web": 1}), Phase.of(99, {"code": 1})], "phase 2"),
    ],
)
def test_the_past_may_not(new: list[Phase], says: str) -> None:
    with pytest.raises(CheckpointError, match=says) as caught:
        check_resume(record(FIRST), record(*new), consumed=100)
    assert "from: 100" in caught.value.fix


def test_a_phase_that_has_ended_may_not_go() -> None:
    with pytest.raises(CheckpointError, match=r"phase 2 .*is not there"):
        check_resume(record(FIRST, Phase.of(50, {"web": 1})), record(FIRST), consumed=51)
    check_resume(record(FIRST, Phase.of(50, {"web": 1})), record(FIRST), consumed=50)


def test_nothing_used_nothing_kept() -> None:
    check_resume(record(FIRST), record(Phase.of(0, {"code": 1})), consumed=0)


def test_the_seed_stays() -> None:
    with pytest.raises(CheckpointError, match="--seed was 1, is 2"):
        check_resume(record(FIRST), record(FIRST, seed=2), consumed=1)
    check_resume(record(FIRST), record(FIRST, seed=2), consumed=0)


def test_folder_may_change_but_not_data() -> None:
    check_resume(record(FIRST), record(FIRST, wiki=SourceFacts("/elsewhere/wiki", 1000, "f-wiki")), consumed=1)
    for changed in (SourceFacts("/data/wiki", 1001, "f-wiki"), SourceFacts("/data/wiki", 1000, "other")):
        with pytest.raises(CheckpointError, match=r"source 'wiki' .*other data"):
            check_resume(record(FIRST), record(FIRST, wiki=changed), consumed=1)


def test_data_of_a_finished_phase_may_be_gone() -> None:
    new = [FIRST, Phase.of(50, {"code": 1})]
    check_resume(record(*new), record(*new, wiki=SourceFacts("/gone"), web=SourceFacts("/gone")), consumed=60)


def test_data_of_an_unused_source_may_change() -> None:
    later = [FIRST, Phase.of(50, {"code": 1})]
    check_resume(record(*later), record(*later, code=SourceFacts("/data/code", 5, "new")), consumed=50)
