"""Which way of computing linear layers a run has, by its knobs, its device and its packages."""

from __future__ import annotations

import pytest
import torch

from helpers import transformer_engine_stand_in as stand_in
from helpers.processes import run_processes
from steel_megatron.config import ConfigError, RunConfig
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor.fp8 import GRADIENTS, Fp8Linears
from steel_megatron.parallel.tensor.kinds import Linears
from steel_megatron.parallel.tensor.transformer_engine import TransformerEngineLinears
from steel_megatron.training.startup.precision import linears_maker

TE = {"transformer_impl": "transformer_engine"}


@pytest.fixture
def te(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.restore_after(monkeypatch)
    stand_in.install()


def made(**knobs: object) -> Linears:
    return linears_maker(RunConfig().replace(**knobs), Grid.single())()


def test_ours_in_the_type_of_the_model() -> None:
    assert type(made()) is Linears


@pytest.mark.parametrize("form", list(GRADIENTS))
def test_ours_in_8_bits_with_the_gradients_that_are_asked_for(form: str) -> None:
    maker = linears_maker(RunConfig().replace(fp8_format=form), Grid.single())
    first, second = maker(), maker()
    assert isinstance(first, Fp8Linears)
    assert first.gradient == GRADIENTS[form]
    assert first is not second  # each chunk keeps its own rounded weights


def test_a_card_without_8_bits_is_refused_whoever_computes(monkeypatch: pytest.MonkeyPatch, te: None) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A100")
    for knobs in ({}, TE):
        with pytest.raises(ConfigError, match=r"--fp8-format on A100, compute capability 8\.0"):
            linears_maker(RunConfig().replace(fp8_format="hybrid", **knobs), Grid.single("cuda"))


def test_a_package_that_is_not_here_is_refused() -> None:
    with pytest.raises(ConfigError, match="transformer"):
        made(**TE)


def test_theirs_in_the_type_of_the_model_has_no_recipe(te: None) -> None:
    found = made(**TE)
    assert isinstance(found, TransformerEngineLinears)
    assert (found.recipe, found.amax_group) == (None, None)


def test_their_recipes(te: None) -> None:
    found = made(**TE, fp8_format="e4m3", fp8_recipe="tensorwise")
    assert isinstance(found, TransformerEngineLinears)
    assert found.recipe.fp8_format.value == "e4m3"
    assert not hasattr(found.recipe, "amax_history_len")
    delayed = made(**TE, fp8_format="hybrid", fp8_recipe="delayed", fp8_amax_history_len=7)
    assert isinstance(delayed, TransformerEngineLinears)
    assert (delayed.recipe.amax_history_len, delayed.recipe.fp8_format.value) == (7, "hybrid")
    assert not delayed.recipe.reduce_amax  # there is no other rank
    assert delayed.amax_group is None


def scales_by_layout() -> dict[tuple[str, int], tuple[bool, list[int]]]:
    """On one of two ranks, by recipe and pipeline stages: whether scales are shared, and by which ranks."""
    stand_in.install()
    told = {}
    for recipe, stages in (("delayed", 1), ("delayed", 2), ("tensorwise", 1)):
        knobs = {"fp8_format": "hybrid", "fp8_recipe": recipe, "pipeline_model_parallel_size": stages}
        config = RunConfig().replace(**TE, **knobs)
        found = linears_maker(config, Grid.create(config.parallel))()
        assert isinstance(found, TransformerEngineLinears)
        group = found.amax_group
        ranks = [] if group is None else torch.distributed.get_process_group_ranks(group)
        told[recipe, stages] = (getattr(found.recipe, "reduce_amax", False), ranks)
    return told


def test_delayed_scales_are_those_of_a_pipeline_stage() -> None:
    alone = (False, [])
    for told in run_processes(scales_by_layout, 2):
        assert told == {("delayed", 1): (True, [0, 1]), ("delayed", 2): alone, ("tensorwise", 1): alone}
