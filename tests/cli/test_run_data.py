"""How far a run has come, from what lies in its folder."""

from __future__ import annotations

import json

import pytest

from steel_megatron.cli.run_data import config_of, position_of
from steel_megatron.config import ConfigError


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path)
    assert caught.value.given == f"no file {tmp_path / 'config.yaml'}"
    assert "--save" in caught.value.rule


def test_an_empty_folder_is_at_the_beginning(tmp_path):
    position = position_of(tmp_path)
    assert (position.consumed_samples, position.checkpoint_samples, position.phases) == (0, 0, [])
    assert position.tokenizer_fingerprint is None


def test_the_last_line_of_the_metrics_tells_what_was_used(tmp_path):
    rows = [{"step": step, "consumed_samples": 8 * step, "global_batch_size": 8} for step in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    position = position_of(tmp_path)
    assert (position.consumed_samples, position.checkpoint_samples) == (24, 0)
