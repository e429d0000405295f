from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import CheckpointError, ConfigError
from steel_megatron.samples.mixing.phase_drafts import resolve_phases
from steel_megatron.samples.mixing.phases import (
    Phase,
    SourceFacts,
    check_resume,
    checked_phases,
    exact_weight,
    phases_from_record,
    phases_record,
)
from steel_megatron.samples.mixing.phases_file import parse_data_path, read_phases

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


def test_data_path() -> None:
    assert parse_data_path(["d/a"]) == ({"a": "d/a"}, None)
    assert parse_data_path(["d/a", "d/b"]) == ({"a": "d/a", "b": "d/b"}, None)
    assert parse_data_path(["0.3", "a", "7", "x/b"]) == (
        {"a": "a", "b": "x/b"},
        {"a": Fraction(3, 10), "b": Fraction(7)},
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["0.3", "a", "b"], "before each prefix"),
        (["a", "0.3"], "before each prefix"),
        (["0.3", "a", "b", "0.7"], "before each prefix"),
        (["x/a", "y/a"], "two sources named 'a'"),
        (["0", "a"], "above 0"),
        ([], "empty"),
    ],
)
def test_bad_data_path(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_data_path(words)


def write(folder: Path, text: str) -> Path:
    path = folder / "phases.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_phases_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        - sources:
            wiki: {path: data/wiki, weight: 0.3}
            web: {path: /abs/web, weight: 0.7}
        - from: 1_000
          sources: {wiki: 1, web: 1/2}
        - from_tokens: 1e7
          sources:
            web: 2
            math: {path: math, weight: 1}
        """,
    )
    drafts, paths = read_phases(path, seq_length=2048)
    assert resolve_phases(drafts, {}, 2048, total_samples=10_000) == [
        Phase.of(0, {"wiki": "3/10", "web": "7/10"}),
        Phase.of(1000, {"wiki": "2/3", "web": "1/3"}),
        Phase.of(4883, {"web": "2/3", "math": "1/3"}),  # 10,000,000 / 2,048 = 4,882.8
    ]
    assert paths == {"wiki": str(tmp_path / "data/wiki"), "web": "/abs/web", "math": str(tmp_path / "math")}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds nothing"),
        ("a: 1", "list of phases"),
        ("- [1]", "mapping with the keys"),
        ("- {form: 0, sources: {a: {path: a, weight: 1}}}", r"unknown key 'form'[\s\S]*did you mean from\?"),
        ("- {sources: {a: {path: a, wieght: 1}}}", r"unknown key 'wieght'[\s\S]*did you mean weight\?"),
        ("- {from: 5, sources: {a: {path: a, weight: 1}}}", "first phase is from sample 5"),
        ("- {from: -5, sources: {a: {path: a, weight: 1}}}", "whole number"),
        ("- {from: 0.5, sources: {a: {path: a, weight: 1}}}", "whole number"),
        ("- {from: true, sources: {a: {path: a, weight: 1}}}", "whole number"),
        ("- {from: 0, from_tokens: 0, sources: {a: {path: a, weight: 1}}}", "given once"),
        ("- {sources: {}}", "sources are nothing"),
        ("- {from: 0}", "sources are nothing"),
        ("- {sources: {a: {path: a, weight: 0}}}", "weight 0 of source 'a'"),
        ("- {sources: {a: {path: a}}}", "no weight"),
        ("- {sources: {a: {path: a, weight: 1, epochs: 2}}}", "has weight and epochs"),
        ("- {sources: {a: {path: a, tokens: 0}}}", "tokens 0 of source 'a'"),
        ("- {ramp: 1, ramp_tokens: 9, sources: {a: {path: a, weight: 1}}}", "'ramp' is given once"),
        ("- {until: -1, sources: {a: {path: a, weight: 1}}}", "until is -1"),
        ("- {sources: {a: 1}}", "no path"),
        ("- {sources: {a: {path: a, weight: 1}, a: {path: b, weight: 1}}}", "'a' stands twice"),
        ("- {sources: {a: {path: a, weight: 1}}}\n- {sources: {a: 2}}", "phase 2 has no start"),
        ("- {sources: {wiki: {path: a, weight: 1}}}\n- {from: 9, sources: {wikki: 2}}", "did you mean wiki"),
        ("- {sources: {a: {path: a, weight: 1}}}\n- {from: 3, sources: {a: {path: b, weight: 1}}}", "one dataset"),
        ("- {sources: {a: {path: a, weight: 1}, b: {path: b, weight: 1}}}\n- {from: 0, sources: {a: 2}}", "phase 2 is"),
        ("- {sources: [", "not valid YAML"),
    ],
)
def test_bad_phases_file(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_phases(write(tmp_path, text), seq_length=16)


def test_missing_phases_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no phases file"):
        read_phases(tmp_path / "none.yaml", seq_length=16)
