"""steel plan for a pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from steel_megatron.cli.main import main
from steel_megatron.config import ConfigError, load_run_config
from steel_megatron.plan.pipeline import pipeline_timeline
from steel_megatron.plan.report import planned


def run_of(**given):
    return planned(load_run_config(None, {"vocab_size": 151936, **given}, "tinyllama_1.1b"))


def test_the_schedule_follows_the_batch_and_the_layers():
    config = run_of(pipeline_model_parallel_size=4, global_batch_size=64, micro_batch_size=2)
    timeline = pipeline_timeline(config, 8)
    schedule = timeline.schedule
    assert (schedule.name, schedule.ranks, schedule.chunks, schedule.micro_batches) == ("1f1b", 4, 1, 16)
    config = run_of(pipeline_model_parallel_size=2, num_layers_per_virtual_pipeline_stage=6)
    assert pipeline_timeline(config, 2).schedule.name == "interleaved"
    assert pipeline_timeline(config, 2).schedule.micro_batches == 8


def test_full_recomputation_takes_a_forward_more():
    plain, full = (
        pipeline_timeline(run_of(pipeline_model_parallel_size=2, recompute_granularity=granularity), 2)
        for granularity in ("none", "full")
    )
    assert full.busy(0) == pytest.approx(plain.busy(0) * 4 / 3)


def test_the_automatic_layout_beats_the_even_one():
    auto, even = (
        pipeline_timeline(run_of(pipeline_model_parallel_size=2, pipeline_layout=layout), 2)
        for layout in ("auto", "even")
    )
    assert auto.length < 0.95 * even.length


@pytest.mark.parametrize(
    ("stages", "layers", "bubble"), [(2, None, 6.9), (2, 6, 4.1), (4, None, 18.2), (4, 3, 33.8), (4, 2, 40.3)]
)
def test_chunks_do_not_help_where_the_head_is_heavy(stages, layers, bubble):
    """The table of docs/parallelism.md."""
    given = {"pipeline_model_parallel_size": stages, "num_layers_per_virtual_pipeline_stage": layers}
    config = planned(load_run_config(None, {**given, "global_batch_size": 64, "micro_batch_size": 4}, "steel_1b"))
    assert round(100 * pipeline_timeline(config, stages).bubble, 1) == bubble
    for page in ("parallelism.md", "parallelism.zh-CN.md"):
        text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
        assert f"| {bubble} % |" in text


def test_what_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="a multiple of 4"):
        pipeline_timeline(run_of(pipeline_model_parallel_size=4), 6)
    with pytest.raises(ConfigError, match="--global-batch-size 10"):
        pipeline_timeline(run_of(pipeline_model_parallel_size=2, global_batch_size=10, micro_batch_size=4), 2)


def test_the_command_prints_and_draws(tmp_path, capsys):
    file = tmp_path / "schedule.svg"
    command = ["plan", "--preset", "demo", "--pipeline-model-parallel-size", "2", "--draw-schedule", str(file)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "1f1b: 2 ranks, 8 micro-batches, bubble" in printed
    assert "rank 0: embedding, layers 0–" in printed
    assert ", head; computes" in printed
    assert file.read_text(encoding="utf-8").startswith("<svg")
