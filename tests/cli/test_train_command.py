"""``steel train``: which configuration a run gets. What runs do is tested in ``tests/training``."""

from __future__ import annotations

from pathlib import Path

import pytest

from steel_megatron.cli.main import main
from steel_megatron.config import RunConfig
from steel_megatron.training import run

FILE = """
preset: demo
model: {num_layers: 3, vocab_size: 101}
training: {seq_length: 48}
lr: 1.0e-2
tensorboard: false
"""


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[RunConfig]:
    """Configurations of the runs that would have been started; a run file is at hand."""
    configs: list[RunConfig] = []
    monkeypatch.setattr(run, "train", configs.append)
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(FILE)
    return configs


def test_flags_go_before_the_file_and_that_before_the_preset(given: list[RunConfig]) -> None:
    assert main(["train", "--preset", "demo"]) == 0
    assert main(["train", "--config", "run.yaml", "--lr", "3e-3", "--seq-length", "64"]) == 0
    demo, config = given
    assert (config.model.num_layers, config.model.vocab_size) == (3, 101)
    assert demo.model.num_layers != 3
    assert config.model.hidden_size == demo.model.hidden_size != RunConfig().model.hidden_size
    assert (config.optimizer.lr, config.training.seq_length) == (3e-3, 64)


def test_a_flag_that_was_not_given_leaves_the_files_value(given: list[RunConfig]) -> None:
    """Also where that is not the default, and a switch can be turned back on."""
    assert main(["train", "--config", "run.yaml"]) == 0
    assert main(["train", "--config", "run.yaml", "--tensorboard"]) == 0
    off, on = given
    assert (off.optimizer.lr, off.training.seq_length) == (1e-2, 48)
    assert (off.logging.tensorboard, on.logging.tensorboard) == (False, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "none.yaml"], "none.yaml"),
        (["--config", ""], "--config ''"),
        (["--preset", "dmeo"], "did you mean demo?"),
        (["--lr", "fast"], "--lr fast"),
        (["--config", "run.yaml", "--hidden-sise", "3"], "did you mean --hidden-size?"),
        (["run.yaml"], "run.yaml"),
    ],
)
def test_what_is_wrong_starts_no_run(
    given: list[RunConfig], words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words]) == 2
    assert message in capsys.readouterr().err
    assert given == []
