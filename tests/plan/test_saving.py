"""The size of a checkpoint and the time of a save, as `steel plan` tells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.tiny_run import MODEL, run_config, train
from steel_megatron.cli.main import main
from steel_megatron.config import load_run_config
from steel_megatron.plan.saving import checkpoint_bytes, saving_line


def test_a_checkpoint_is_as_large_as_planned(tmp_path: Path):
    model = {**MODEL, "hidden_size": 256, "ffn_hidden_size": 512}
    config = run_config(tmp_path, train_iters=2, lr_warmup_iters=1, eval_iters=0, model=model)
    train(config)
    files = (tmp_path / "run" / "step_0000002").glob("*.distcp")
    written = sum(path.stat().st_size for path in files)
    assert written == pytest.approx(checkpoint_bytes(load_run_config(config)), rel=0.05)  # small: headers count


def test_the_layout_does_not_matter():
    config = load_run_config(preset="steel_1b")
    whole = checkpoint_bytes(config)
    assert checkpoint_bytes(config.replace(tensor_model_parallel_size=4)) == whole


def test_the_line_tells_time_and_share():
    config = load_run_config(preset="steel_1b", overrides={"save_interval_in_mins": 10})
    size = checkpoint_bytes(config)
    line = saving_line(config, size / 60, "assumed")
    assert "a save takes about 60 s at" in line
    assert "9.1% of the time with --save-interval-in-mins 10" in line
    assert "about 17 min" in saving_line(config, size / 1000, "assumed")


def test_the_command_measures_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "--preset", "steel_1b", "--save", str(tmp_path)]) == 0
    assert f"GB/s (one process, measured in {tmp_path})" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert main(["plan", "--preset", "steel_1b", "--save", str(tmp_path / "nowhere")]) == 2
    assert main(["plan", "--preset", "steel_1b", "--save-speed", "0"]) == 2
