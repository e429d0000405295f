"""0 as an interval is 'never'; a warm-up that the run does not outlast is refused before anything is opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.tiny_run import run_config, train
from steel_megatron.training.intervals import every

NEVER = {
    "log_interval": 0,
    "eval_interval": 0,
    "save_interval": 0,
    "save_interval_in_mins": 0,
    "save_retain": 0,
    "save_retain_interval": 0,
    "manual_gc_interval": 0,
    "exit_interval": 0,
    "exit_duration_in_mins": 0,
}


def test_multiples() -> None:
    assert [step for step in range(1, 7) if every(3, step)] == [3, 6]
    assert not any(every(never, step) for never in (0, None) for step in range(1, 7))


def test_with_every_interval_at_zero_a_run_does_at_its_end_what_it_has_to(tmp_path: Path) -> None:
    printed = train(run_config(tmp_path, train_iters=6, **NEVER))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert ["valid_loss" in row for row in rows] == [False] * 5 + [True]
    assert printed.count("| loss ") == printed.count("step 6/6 | loss ") == 1
    assert [path.name for path in sorted((tmp_path / "run").glob("step_*"))] == ["step_0000006"]


def test_all_checkpoints_are_kept_where_the_number_kept_is_zero(tmp_path: Path) -> None:
    train(run_config(tmp_path, train_iters=4, save_interval=1, eval_iters=0, save_retain=0))
    assert len(list((tmp_path / "run").glob("step_*"))) == 4


@pytest.mark.parametrize("style", ["cosine", "constant"])
def test_a_warm_up_that_the_run_does_not_outlast(tmp_path: Path, style: str) -> None:
    config = run_config(tmp_path, lr_warmup_iters=12, lr_decay_style=style, data_path=["/nowhere/at_all"])
    printed = train(config, status=2)
    assert "a warm-up of 12 iters in a schedule that ends after 12 iters" in printed
    assert "rule:" in printed
    assert "fix:" in printed
