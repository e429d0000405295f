"""What the data flags ask for, before any dataset is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from steel_megatron.config import ConfigError, DataConfig, RunConfig
from steel_megatron.samples.mixing.phase_drafts import Amount, PhaseDraft
from steel_megatron.samples.mixing.plan_sources import SourcePlan, plan_training, plan_validation


def data(**knobs: object) -> DataConfig:
    return RunConfig().replace(**{"split": "90,5,5", **knobs}).data


def test_the_division_is_of_data_that_has_no_validation_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("- sources: {web: {path: web, weight: 1}}")
    assert plan_training(data(data_path=["a"]), 8).split == "90,5,5"
    assert plan_training(data(phases=str(tmp_path / "p.yaml")), 8).split == "90,5,5"
    assert plan_training(data(data_path=["a"], valid_data_path=["b"]), 8).split is None
    assert plan_training(data(train_data_path=["a"]), 8).split is None
    assert plan_validation(data(data_path=["a"])) is None
    assert plan_validation(data(valid_data_path=["x/b"])) == SourcePlan({"b": "x/b"}, [], None)


@pytest.mark.parametrize(
    ("knobs", "says"),
    [({}, "no training data"), ({"data_path": ["a"], "train_data_path": ["b"]}, "--data-path and --train-data-path")],
)
def test_training_data_is_given_once(knobs: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        plan_training(data(**knobs), 8)


def test_sources_of_phases_that_are_over_are_not_needed() -> None:
    def draft(start: int, ramp: int, *names: str) -> PhaseDraft:
        return PhaseDraft(start, {name: Amount("weight", 1) for name in names}, None, ramp)  # type: ignore[arg-type]

    plan = SourcePlan({"a": "a", "b": "b", "c": "c"}, [draft(0, 0, "a"), draft(10, 5, "b"), draft(30, 0, "c")], None)
    assert plan.needed_from(0) == ["a", "b", "c"]
    assert plan.needed_from(14) == ["a", "b", "c"]  # the ramp still reads the mixture before it
    assert plan.needed_from(15) == ["b", "c"]
    assert plan.needed_from(30) == ["c"]
    assert plan.needed_from(30, first_phase=True) == ["a", "c"]
    assert SourcePlan({"a": "a", "b": "b"}, [], None).needed_from(99) == ["a", "b"]
