"""Tables of a plan."""

from __future__ import annotations

from steel_megatron.config import RunConfig, preset_names
from steel_megatron.plan.report import (
    COLUMNS,
    DEMO_VOCABULARY,
    Speed,
    layer_lines,
    model_report,
    planned,
    preset_table,
)

CONFIG = RunConfig.of(num_layers=2, hidden_size=64, num_attention_heads=4, seq_length=64, vocab_size=1000)


def test_every_preset_has_a_row_of_all_columns() -> None:
    rows = preset_table()
    assert [row[0] for row in rows[1:]] == list(preset_names())
    assert {len(row) for row in rows} == {len(COLUMNS)}


def test_a_vocabulary_is_kept_or_a_stand_in() -> None:
    assert planned(CONFIG).model.vocab_size == 1000
    assert planned(CONFIG.replace(vocab_size=None)).model.vocab_size == DEMO_VOCABULARY


def test_days_follow_from_speed_and_tokens() -> None:
    text = model_report(CONFIG, 2, Speed(peak=1e12, mfu=0.5), tokens=1e9)
    assert "at 50% MFU of 1 TFLOP/s" in text
    assert "1e+09 tokens on 2 devices" in text
    assert "MFU" not in model_report(CONFIG, 2, None, tokens=None)


def test_layers_of_several_kinds_have_a_row_each() -> None:
    assert layer_lines(CONFIG) == []
    mixed = CONFIG.replace(layer_types=("sliding_attention", "full_attention"), window_size=8)
    table, _ = layer_lines(mixed)
    assert len(table.splitlines()) == 3
    assert "sliding_attention, dense" in table
