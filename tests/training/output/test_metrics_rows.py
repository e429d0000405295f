"""Rows of a metrics.jsonl, read and cut."""

from __future__ import annotations

from pathlib import Path

from steel_megatron.training.output.metrics_rows import read_metrics, truncate_metrics

LINES = b'{"step": 1, "loss": 2.0}\nnot json\n[1]\n{"loss": 1}\n\xff\xfe\n{"step": 2, "loss": null}\n{"step": 3, "lo'


def test_whole_rows_are_read_and_the_rest_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LINES)
    assert read_metrics(path) == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None}]
    path.write_bytes(b"")
    assert read_metrics(path) == []


def test_later_steps_are_cut_off_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LINES)
    truncate_metrics(path, 1)
    assert path.read_text() == '{"step": 1, "loss": 2.0}\n'
    assert list(tmp_path.iterdir()) == [path]
    truncate_metrics(path, 0)
    assert path.read_bytes() == b""
