"""A run in 8 bits learns as a run in bf16 does, by our layers and by Transformer Engine's (a stand-in)."""

from __future__ import annotations

from pathlib import Path

from helpers import transformer_engine_stand_in as stand_in
from helpers.curves import curve
from helpers.tiny_run import run_config, train


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in curve(folder)]


def test_the_losses_are_those_of_bf16_but_for_a_little(tmp_path):
    config = run_config(tmp_path, train_iters=20, eval_iters=0, save_interval=20)
    train(config, "--save", str(tmp_path / "bf16"))
    plain = losses(tmp_path / "bf16")
    for fp8_format in ("hybrid", "e4m3"):
        train(config, "--save", str(tmp_path / fp8_format), "--fp8-format", fp8_format)
        rounded = losses(tmp_path / fp8_format)
        assert rounded[-1] < 0.8 * rounded[0]
        assert rounded != plain
        assert max(abs(a / b - 1) for a, b in zip(rounded, plain, strict=True)) < 0.05


TE = ["--transformer-impl", "transformer_engine", "--fp8-format", "hybrid"]


def test_a_run_through_transformer_engine(tmp_path, monkeypatch):
    stand_in.restore_after(monkeypatch)
    stand_in.install()
    config = run_config(tmp_path, train_iters=4)
    train(config, "--save", str(tmp_path / "ours"), "--fp8-format", "hybrid")
    train(config, "--save", str(tmp_path / "te"), *TE)
    ours, te = losses(tmp_path / "ours"), losses(tmp_path / "te")
    assert max(abs(a / b - 1) for a, b in zip(ours, te, strict=True)) < 0.01
    stand_in.autocast.entered.clear()
    delayed = ["--fp8-recipe", "delayed", "--fp8-amax-history-len", "16"]
    train(config, "--save", str(tmp_path / "delayed"), *TE, *delayed)
    (recipe,) = {repr(region.recipe): region.recipe for region in stand_in.autocast.entered}.values()
    # One process shares its scales with nobody; a group of None would be all processes.
    assert recipe == stand_in.DelayedScaling(0, stand_in.Format.HYBRID, 16, "max", False)


def test_transformer_engine_that_is_not_there_is_refused(tmp_path):
    config = run_config(tmp_path)
    assert "pip install" in train(config, *TE, status=2)
