"""Layouts as they are named, what they set, and when their numbers agree."""

from __future__ import annotations

import math

import pytest
import torch

from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import ConfigError, RunConfig
from steel_megatron.parallel.parameter import TensorSlice
from steel_megatron.verify.layouts import Layout, Outcome, certificate, compare, default_layouts


@pytest.mark.parametrize(
    ("text", "message"),
    [("tp2,dpp2", "did you mean"), ("tp0", "tp0"), ("two", "a layout joins"), ("tp", "a layout joins")],
)
def test_layouts_are_read_strictly(text, message):
    with pytest.raises(ConfigError, match=message):
        Layout.parse(text)


def test_a_layout_says_what_it_sets():
    config = Layout.parse("tp2,sp,pp4,vpp1,dp3,gpipe,nozero,full,mbs4").apply(RunConfig())
    parallel, training = config.parallel, config.training
    assert (parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size) == (2, 4)
    assert (parallel.sequence_parallel, parallel.use_distributed_optimizer) == (True, False)
    assert (parallel.num_layers_per_virtual_pipeline_stage, parallel.pipeline_schedule) == (1, "gpipe")
    assert (training.recompute_granularity, training.micro_batch_size) == ("full", 4)


def test_default_layouts_fit_the_processes_and_reach_three_dimensions():
    for size in (1, 2, 4, 8):
        assert max(layout.world_size for layout in default_layouts(size)) <= size
    assert any(layout.tp > 1 and layout.pp > 1 and layout.dp > 1 for layout in default_layouts(8))


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("x", loss_difference=2e-5),
        Outcome("x", norm_difference=2e-4),
        Outcome("x", weight_difference=2e-5),
        Outcome("x", loss_difference=float("nan")),
        Outcome("x", error="died"),
    ],
)
def test_what_differs_does_not_agree(outcome):
    assert not outcome.agrees
    assert not certificate([Outcome("fine"), outcome], {})["agrees"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_nan_is_the_largest_difference_wherever_it_stands(place, tmp_path):
    """Python's max passes over a NaN that is not the first."""
    numbers = [1.0, 1.0, 1.0]
    numbers[place] = float("nan")
    reference = Outcome("one process", losses=[1.0] * 3, gradient_norms=[1.0] * 3)
    names = ("model.a", "model.b", "model.c")
    for folder, values in (("one", [1.0] * 3), ("other", numbers)):
        blocks = {
            name: TensorSlice(torch.tensor([value]), (1,), (0,)) for name, value in zip(names, values, strict=True)
        }
        CheckpointStore(tmp_path / folder).save(0, blocks, {})
    outcome = Outcome("x", losses=numbers, gradient_norms=numbers)
    compare(outcome, reference, tmp_path / "other", tmp_path / "one")
    differences = (outcome.loss_difference, outcome.norm_difference, outcome.weight_difference)
    assert all(map(math.isnan, differences))
    largest = certificate([Outcome("fine"), outcome, Outcome("fine")], {})["largest differences"]
    assert all(map(math.isnan, largest.values()))


def test_a_run_of_fewer_steps_is_no_proof(tmp_path):
    CheckpointStore(tmp_path).save(0, {"model.a": TensorSlice(torch.ones(1), (1,), (0,))}, {})
    short = compare(Outcome("x", losses=[1.0]), Outcome("one process", losses=[1.0, 1.0]), tmp_path, tmp_path)
    assert short.loss_difference == math.inf
    assert not short.agrees
