from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from steel_megatron.config import load_run_config
from steel_megatron.model.stages import layer_costs
from steel_megatron.parallel.pipeline.layout import assign_layers, stage_costs
from steel_megatron.parallel.pipeline.passes import Costs
from steel_megatron.parallel.pipeline.schedules import build_schedule
from steel_megatron.parallel.pipeline.timeline import simulate

ROOT = Path(__file__).resolve().parents[3]
PAGES = ["docs/pipeline.md", "docs/pipeline.zh-CN.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_worked_example_is_true(page):
    failed, attempted = doctest.testfile(str(ROOT / page), module_relative=False, encoding="utf-8")
    assert attempted == 5
    assert failed == 0


@pytest.mark.parametrize("page", PAGES)
def test_the_numbers_are_the_code_s(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [build_schedule("interleaved", 4, m, 2).peak_live[0] for m in (8, 9, 10, 11, 12)] == [11, 12, 12, 13, 11]
    for name, chunks in (("1f1b", 1), ("interleaved", 2), ("gpipe", 1)):
        schedule = build_schedule(name, 4, 16, chunks)
        free, paid = (
            simulate(schedule, Costs.uniform(4 * chunks, 1 / chunks, 2 / chunks, transfer=transfer)).length
            for transfer in (0.0, 0.1)
        )
        assert f"{100 * (paid / free - 1):.1f} %" in text, name


def test_the_table_of_layouts_is_the_code_s():
    config = load_run_config(None, {"vocab_size": 151936}, "tinyllama_1.1b")
    costs = layer_costs(config.model, config.training.seq_length)
    for ranks, layout, slowest in ((2, "even", "17.5"), (2, "auto", "14.5"), (4, "auto", "7.5")):
        parts = assign_layers(22, ranks, layout=layout, costs=costs)
        assert f"{max(stage_costs(parts, costs)) / costs.mean_block:.1f}" == slowest
        numbers = [str(len(part.layers)) for row in parts for part in row]
        for page in PAGES:
            text = (ROOT / page).read_text(encoding="utf-8").replace("，", ", ")
            assert f"{', '.join(numbers)} + " in text
