"""MFU, ratios and the table of the step benchmark: arithmetic on given seconds."""

from __future__ import annotations

import pytest
from step_table import Row, Yardstick, as_json, best_against, ratio, table

from steel_megatron.config import load_run_config
from steel_megatron.model.cost import Flops
from steel_megatron.model.flops import model_flops


def tinyllama(peak: float | None = 312.0) -> Yardstick:
    config = load_run_config(preset="tinyllama_1.1b")
    return Yardstick(model_flops(config.model, 2048), 2048, peak)


def test_tinyllama_at_24k_tokens_per_second_has_the_published_mfu() -> None:
    # 24,000 tokens/s on an A100: 56 % with all keys counted, 52 % with causal attention.
    row = Row("x", micro_batch_size=8, seconds=[8 * 2048 / 24_000])
    found = tinyllama().figures(row, row)
    assert found["tokens/s"] == pytest.approx(24_000)
    assert found["MFU"] == pytest.approx(0.562, abs=0.003)
    assert found["MFU, causal"] == pytest.approx(0.52, abs=0.01)
    assert found["against the first"] == 1.0


def test_the_formula_names_every_module_and_the_peak() -> None:
    text = tinyllama().formula()
    # By hand: 22 layers of 2 H (N D + K D) and 3 H F, a head of H V, attention 12 L N D S.
    projections = 6 * 22 * 2 * 2048 * (2048 + 256) / 1e9
    mlp, head, attention = 6 * 22 * 3 * 2048 * 5632 / 1e9, 6 * 2048 * 32000 / 1e9, 12 * 22 * 2048 * 2048 / 1e9
    for part in (projections, mlp, head, attention, projections + mlp + head + attention):
        assert f"{part:.4g}" in text
    assert "312 TFLOP/s" in text
    assert "unknown" in tinyllama(None).formula()


def test_tokens_are_compared_round_by_round_whatever_the_micro_batch() -> None:
    first = Row("first", micro_batch_size=4, seconds=[4.0, 8.0, 4.0])
    twice = Row("twice", micro_batch_size=8, seconds=[4.0, 8.0, 4.0])
    assert ratio(twice, first) == 2.0
    # A slow moment of the machine that hit the same round of both does not count.
    assert ratio(Row("same", 4, seconds=[2.0, 4.0, 2.0]), first) == 2.0
    assert ratio(Row("shorter", 4, seconds=[2.0]), first) == 2.0


def test_the_fastest_of_each_are_compared() -> None:
    rows = [
        Row("them, slow", 1, [4.0, 4.0]),
        Row("them, fast", 1, [2.0, 2.0]),
        Row("them, broken", remark="out of memory"),
        Row("us, wide", 2, [3.0, 3.0]),
        Row("us, narrow", 1, [1.6, 1.6]),
    ]
    assert best_against(rows, "us", "them") == "Fastest of each: us, wide is 1.33 × them, fast."
    assert best_against(rows[:3], "us", "them") == "us and them were not both timed."


def test_rows_without_figures_say_why_and_the_first_timed_one_is_the_measure() -> None:
    yardstick = Yardstick(Flops(1e9, 0.0, 0.0, 0.0), 10, None)
    rows = [
        Row("large", remark="out of memory at micro-batch 16"),
        Row("small", 1, [1.0], int(2e9)),
        Row("ours", 2, [1.0], 0),
    ]
    lines = table(rows, yardstick).splitlines()[2:]
    assert lines[0].startswith("| large | out of memory at micro-batch 16 | - |")
    assert lines[1] == "| small | 1 | 10 | 1.00 × | 10 | - | - | 2.00 |"
    assert lines[2] == "| ours | 2 | 20 | 2.00 × | 20 | - | - | - |"
    assert len({line.count("|") for line in lines}) == 1
    data = as_json(rows, yardstick)
    assert [row.get("tokens/s") for row in data] == [None, 10.0, 20.0]
