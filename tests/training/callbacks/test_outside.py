"""Callbacks that a run is given: order, state in checkpoints, text from the model, errors before the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import steel_megatron
from helpers.curves import assert_same_checkpoint, curve
from helpers.small_tokenizer import small_tokenizer
from helpers.tiny_run import MODEL, run_config, train
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import CheckpointError, ConfigError
from steel_megatron.training.callbacks.outside import given_callbacks, states_of, take_up_states
from steel_megatron.training.output.metrics_rows import read_metrics

COUNTER = '''
from pathlib import Path
from steel_megatron import Callback


class Counter(Callback):
    """Counts the tokens that count in the loss, and says so in the metrics."""

    def __init__(self, start=0, output=""):
        self.seen = start
        self.output = output

    def on_metrics(self, trainer, rows):
        for row in rows:
            self.seen += row["loss_tokens"]
            row["seen"] = self.seen
            row["after_validation"] = "valid_loss" in row

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


class Writer(Callback):
    """Writes what the model makes of a prompt."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def on_step_end(self, trainer):
        texts = trainer.generate(["中文", "a b"], max_new_tokens=6)
        with open(self.folder / f"{trainer.components.grid.world.rank}.txt", "a") as file:
            file.write(repr(texts) + "\\n")


class Quiet(Callback):
    pass


class Other:
    pass
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(COUNTER)
    return path


def test_state_comes_back_with_the_checkpoint(tmp_path: Path, file: Path) -> None:
    config = run_config(tmp_path, callback=[{f"{file}:Counter": {"start": 7}}, f"{file}:Counter"])
    train(config, "--save", str(tmp_path / "whole"))
    train(config, "--save", str(tmp_path / "cut"), "--exit-interval", "5")
    printed = train(config, "--save", str(tmp_path / "cut"))
    assert "begins anew" not in printed
    whole, resumed = (list(read_metrics(tmp_path / run / "metrics.jsonl")) for run in ("whole", "cut"))
    assert [row["seen"] for row in whole] == [row["seen"] for row in resumed]
    assert whole[-1]["seen"] == sum(row["loss_tokens"] for row in whole)  # the second one's, which came later
    assert [row["step"] for row in whole if row["after_validation"]] == [4, 8, 12]
    facts = CheckpointStore(tmp_path / "cut").facts(12)
    assert facts["callbacks"] == {
        "Counter": {"seen": whole[-1]["seen"] + 7},
        "Counter 2": {"seen": whole[-1]["seen"]},
    }
    assert facts["config"]["training"]["callback"] == [f"{file}:Counter {{start: 7}}", f"{file}:Counter"]
    longer = ["--save", str(tmp_path / "cut"), "--train-iters", "13"]
    printed = train(run_config(tmp_path, callback=f"{file}:Quiet"), *longer)
    assert "callback Quiet is not in the checkpoint: it begins anew" in printed
    assert "callback Counter 2 of the checkpoint is not in this run" in printed


def test_a_notebook_trains_with_callbacks(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Recorder(steel_megatron.Callback):
        def on_metrics(self, trainer: steel_megatron.Trainer, rows: list[dict[str, Any]]) -> None:
            seen.extend(row["loss"] for row in rows)

    config = steel_megatron.load_run_config(run_config(tmp_path), {"train_iters": 3, "save": None})
    state = steel_megatron.train(config, callbacks=[Recorder()])
    assert state.step == len(seen) == 3
    expected = run_config(tmp_path)
    train(expected, "--train-iters", "3")
    assert seen == [row["loss"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")]


@pytest.mark.parametrize(
    ("knobs", "processes"),
    [
        ({}, 1),
        ({"tensor_model_parallel_size": 2, "sequence_parallel": True}, 2),
        ({"pipeline_model_parallel_size": 2, "num_layers_per_virtual_pipeline_stage": 1}, 2),
    ],
    ids=["alone", "tp", "interleaved"],
)
def test_text_from_the_model_leaves_the_run_as_it_is(
    tmp_path: Path, file: Path, knobs: dict[str, Any], processes: int
) -> None:
    tokenizer = str(small_tokenizer(tmp_path / "tokenizer"))
    model = {**MODEL, "vocab_size": None, "num_layers": 4}
    more = {"model": model, "tokenizer_model": tokenizer, "train_iters": 4, "precision": "fp32", **knobs}
    train(run_config(tmp_path, **more), "--save", str(tmp_path / "without"), processes=processes)
    callback = f"{file}:Writer {{folder: {tmp_path}}}"
    config = run_config(tmp_path, callback=callback, hidden_dropout=0.0, **more)
    train(config, "--save", str(tmp_path / "with"), processes=processes)
    assert curve(tmp_path / "with") == curve(tmp_path / "without")
    assert_same_checkpoint(tmp_path / "with", tmp_path / "without", 4)
    texts = [(tmp_path / f"{rank}.txt").read_text() for rank in range(processes)]
    assert len(texts[0].splitlines()) == 4
    assert len(set(texts)) == 1


def test_sample_texts_go_to_the_log(tmp_path: Path) -> None:
    tokenizer = str(small_tokenizer(tmp_path / "tokenizer"))
    config = run_config(tmp_path, model={**MODEL, "vocab_size": None}, train_iters=4, tokenizer_model=tokenizer)
    printed = train(config, "--callback", "sample_texts {prompts: [中文], every: 2, max_new_tokens: 3}")
    assert [line.split("|")[0] for line in printed.splitlines() if "中文|" in line] == ["step 2: 中文", "step 4: 中文"]
    printed = train(config, "--callback", "sample_texts {prompts: [中文], evry: 2}", status=2)
    assert "did you mean every" in printed
    printed = train(config, "--train-iters", "6", "--callback", "sample_texts {prompts: 中文}", status=2)
    assert "prompts are a list" in printed


def test_a_run_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    printed = train(run_config(tmp_path), "--callback", "sample_texts {prompts: [a], every: 1}", status=2)
    assert "give --tokenizer-model" in printed


def test_what_is_no_callback_is_refused_before_the_run(tmp_path: Path, file: Path) -> None:
    with pytest.raises(ConfigError, match="made from steel_megatron"):
        given_callbacks([f"{file}:Other"])
    with pytest.raises(ConfigError, match="its class in --callback"):
        given_callbacks([], [steel_megatron.Callback])  # type: ignore[list-item]  # the mistake that is made
    with pytest.raises(ConfigError, match="sample_texts"):
        given_callbacks(["sample_text"])


@pytest.mark.parametrize("state", [{1: "a"}, {"a": {1, 2}}, {"a": (1, 2)}, {"a": float("nan")}, {"a": object()}])
def test_a_state_that_is_no_plain_data_is_named(state: Any) -> None:
    class Bad(steel_megatron.Callback):
        def state_dict(self) -> dict[str, Any]:
            return dict(state)

    with pytest.raises(CheckpointError, match=r"callback Bad gives(.|\n)*plain data"):
        states_of(given_callbacks([], [Bad()]))


def test_a_state_that_no_checkpoint_can_hold_ends_the_run_before_its_first_step(tmp_path: Path) -> None:
    steps: list[int] = []

    class Bad(steel_megatron.Callback):
        def on_step_end(self, trainer: steel_megatron.Trainer) -> None:
            steps.append(trainer.state.step)

        def state_dict(self) -> dict[str, Any]:
            return {"function": len}

    config = steel_megatron.load_run_config(run_config(tmp_path), {"train_iters": 3})
    with pytest.raises(CheckpointError, match="callback Bad gives"):
        steel_megatron.train(config, callbacks=[Bad()])
    assert steps == []


def test_a_checkpoint_of_an_earlier_version_holds_no_states(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    take_up_states(given_callbacks([], [steel_megatron.Callback()]), None)
    assert "callback Callback is not in the checkpoint" in caplog.text
    assert json.dumps(states_of([steel_megatron.Callback()])) == "{}"  # those of the package have no name
