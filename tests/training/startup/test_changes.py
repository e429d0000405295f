"""What a run may change of a checkpoint that it takes up: refused, recorded or told, as each knob declares."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from helpers.tiny_run import MODEL, run_config, train
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.cli.inspect_command import samples_of_step
from steel_megatron.cli.run_data import config_of, position_of
from steel_megatron.config import KNOBS, RunConfig
from steel_megatron.config.knob import FIXED, LISTED, TOLD, UNSAID
from steel_megatron.config.knob import MODEL as OF_MODEL
from steel_megatron.parallel.parameter import TensorSlice
from steel_megatron.training.output.metrics_rows import read_metrics
from steel_megatron.training.startup.changes import changes, cut_changes


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train(run_config(folder, eval_iters=0, train_iters=4, rotary_base=500000, hidden_dropout=0.1))
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path):
    """A run at step 4, beside it a file that continues it with the options that it was made with."""
    run_config(tmp_path, eval_iters=0, train_iters=6, rotary_base=500000, hidden_dropout=0.1)
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.parametrize(
    ("flags", "told", "way_back"),
    [
        (["--rotary-base", "10000"], "rotary_base 500000 there, 10000 here", "--rotary-base 500000"),
        (["--norm-epsilon", "1e-6"], "norm_epsilon 1e-05 there, 1e-06 here", "--norm-epsilon 1e-05"),
        (["--rotary-percent", "0.5"], "rotary_percent 1 there, 0.5 here", "--rotary-percent 1"),
        (
            ["--rope-scaling-type", "linear", "--rope-scaling-factor", "4"],
            "rope_scaling_type none there, linear here",
            "--rope-scaling-type none",
        ),
        (["--hidden-dropout", "0"], "hidden_dropout 0.1 there, 0 here", "--hidden-dropout 0.1"),
        (["--attention-dropout", "0.2"], "attention_dropout 0 there, 0.2 here", "--attention-dropout 0"),
    ],
)
def test_options_of_the_model_are_refused(run, flags, told, way_back):
    said = train(run.with_name("run.yaml"), *flags, status=2)
    assert told in said
    assert f"give {way_back}; or --override-checkpoint-model" in said


def test_options_of_the_model_are_overridden_and_recorded(run):
    config, flags = run.with_name("run.yaml"), ["--rotary-base", "10000", "--hidden-dropout", "0"]
    new = ["--save", str(run.with_name("new"))]
    for start in (["--load", str(run), *new], ["--pretrained-checkpoint", str(run), *new]):
        assert "rotary_base 500000 there, 10000 here; hidden_dropout" in train(config, *flags, *start, status=2)
    assert not (run.with_name("new") / "config.yaml").exists()
    said = train(config, *flags, "--override-checkpoint-model")
    assert "--override-checkpoint-model: rotary_base 500000 → 10000" in said
    recorded = CheckpointStore(run).facts(6)["overrides"]
    changed = {"rotary_base": [500000.0, 10000.0], "hidden_dropout": [0.1, 0.0]}
    assert recorded == [{"checkpoint": str(run / "step_0000004"), "changed": changed}]
    train(config, *flags, "--train-iters", "7")  # what is new is now the checkpoint's
    assert CheckpointStore(run).facts(7)["overrides"] == recorded
    train(config, "--pretrained-checkpoint", str(run), *new, "--override-checkpoint-model", "--exit-interval", "1")
    both = CheckpointStore(run.with_name("new")).facts(1)["overrides"]
    assert [list(entry["changed"].values()) for entry in both[1:]] == [[[10000.0, 500000.0], [0.0, 0.1]]]


def test_other_changes_are_told_in_one_line_each(run):
    flags = ["--lr", "0.5", "--global-batch-size", "16", "--reset-attention-mask", "--reset-position-ids"]
    said = train(run.with_name("run.yaml"), *flags, "--exit-interval", "6")
    lines = [line for line in said.splitlines() if "changed since the checkpoint: " in line]
    told = {line.split("checkpoint: ")[1] for line in lines}
    expected = {"lr 0.01 → 0.5", "global_batch_size 8 → 16", "train_iters 4 → 6"}
    expected |= {"reset_attention_mask False → True", "reset_position_ids False → True"}
    assert {line for line in told if not line.startswith("data_path")} == expected
    said = train(run.with_name("run.yaml"), *flags, "--exit-interval", "6")
    assert "changed since" not in said


def test_a_run_from_weights_alone_hears_what_they_compute_otherwise(run):
    flags = ["--pretrained-checkpoint", str(run), "--save", str(run.with_name("new")), "--lr", "0.5"]
    said = train(run.with_name("run.yaml"), *flags, "--reset-attention-mask", "--exit-interval", "1")
    assert [line for line in said.splitlines() if "changed since" in line] == [
        "changed since the checkpoint: reset_attention_mask False → True"
    ]


def test_two_ways_to_say_the_same_are_no_change():
    config = RunConfig().replace(kv_channels=64)
    saved = RunConfig().to_dict()
    assert changes(saved, config) == []
    config = config.replace(rope_scaling_beta_fast=7.0)  # of yarn, which is not used
    assert changes(saved, config) == []
    config = config.replace(rope_scaling_type="yarn")
    assert [change.knob.name for change in changes(saved, config)] == ["rope_scaling_type"]
    saved["model"]["rope_scaling_type"] = "yarn"
    assert [str(change) for change in changes(saved, config)] == ["rope_scaling_beta_fast 32 → 7"]
    saved["model"]["position_embedding_type"] = "none"
    config = config.replace(position_embedding_type="none")
    assert changes(saved, config) == []
    del saved["training"]["seed"]  # of a version that did not have it
    saved["training"]["gone"] = 1
    assert changes(saved, config.replace(seed=7)) == []


def test_every_knob_of_the_model_says_what_a_change_means():
    listed = {knob.name for knob in KNOBS.values() if knob.section == "model" and knob.changed in (LISTED, TOLD)}
    # These have no part in what a trained model computes.
    assert listed == {
        *("make_vocab_size_divisible_by", "max_position_embeddings", "init_method_std", "depth_scaled_init"),
    }
    assert {knob.section for knob in KNOBS.values() if knob.changed in (FIXED, OF_MODEL)} == {"model"}
    assert {knob.section for knob in KNOBS.values() if knob.changed == UNSAID} == {"checkpoint", "training"}
    assert {name for name in MODEL if KNOBS[name].changed == FIXED} == set(MODEL) - {"max_position_embeddings"}


def test_another_length_of_samples_is_named(run):
    config = run.with_name("run.yaml")
    said = train(config, "--seq-length", "32", status=2)
    assert "--seq-length was 16, is 32: source 'data'" in said
    assert "'from: 32'" in said
    assert "--seq-length was 16" in train(config, "--seq-length", "32", "--no-load-optim", status=2)
    said = train(config, "--split", "50,50,0", status=2)
    assert "--split was 90,10,0, is 50,50,0" in said
    assert cut_changes(RunConfig().to_dict(), RunConfig()) == []


def test_longer_samples_from_a_phase_on(run):
    """A long-context phase: the same tokens under another name."""
    data = run.with_name("data")
    phases = run.with_name("phases.yaml")
    source = f"{{path: {data}, weight: 1}}"
    phases.write_text(f"- sources: {{data: {source}}}\n- from: 32\n  sources: {{long: {source}}}\n")
    config = run.with_name("run.yaml")
    text = config.read_text()
    config.write_text("\n".join(line for line in text.splitlines() if line not in ("data_path:", f"- {data}")))
    flags = ["--phases", str(phases), "--seq-length", "32", "--rotary-base", "1e6", "--override-checkpoint-model"]
    said = train(config, *flags)
    assert "changed since the checkpoint: seq_length 16 → 32" in said
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["consumed_tokens"] for row in rows] == [128, 256, 384, 512, 768, 1024]


@pytest.mark.parametrize(
    ("first", "then", "batches"),
    [
        (["8"], ["16"], [8] * 10 + [16] * 5),
        (["16"], ["8"], [16] * 5 + [8] * 10),
        (["8"], ["32"], [8] * 10 + [32] * 2),  # 16 of 160 are less than a batch
        (["16", "--rampup-batch-size", "4", "4", "80"], ["8"], None),
        (["8"], ["16", "--rampup-batch-size", "8", "4", "120"], None),
    ],
)
def test_a_length_in_samples_holds_over_changes_of_the_batch(run, first, then, batches):
    config, save = run.with_name("run.yaml"), run.with_name("new")
    text = config.read_text().replace("train_iters: 6", "train_samples: 160")
    config.write_text(text)
    flags = ["--save", str(save), "--micro-batch-size", "4", "--lr-warmup-iters", "2"]
    half = {"8": "10", "16": "5"}[first[0]] if len(first) == 1 else "12"
    train(config, *flags, "--global-batch-size", *first, "--exit-interval", half)
    train(config, *flags, "--global-batch-size", *then)
    rows = read_metrics(save / "metrics.jsonl")
    found = [row["global_batch_size"] for row in rows]
    assert rows[-1]["consumed_samples"] == sum(found)
    assert 160 - 32 < sum(found) <= 160
    if batches is not None:
        assert found == batches
    assert rows[-1]["lr"] == pytest.approx(1e-3)  # the decay ends with the run
    said = train(config, *flags, "--global-batch-size", *then)
    assert f"the run is complete: step {len(rows)}, {sum(found)} samples" in said
    assert len(read_metrics(save / "metrics.jsonl")) == len(rows)


def test_commands_that_look_at_a_run_know_the_batches_that_were(run):
    config = run.with_name("run.yaml")
    train(config, "--global-batch-size", "16", "--train-iters", "12", "--exit-interval", "6")
    (run / "metrics.jsonl").unlink()
    found, position = config_of(run), position_of(run)
    assert [samples_of_step(run, found, position, step) for step in (4, 5, 7)] == [
        list(range(24, 32)),
        list(range(32, 48)),
        list(range(64, 80)),
    ]


def test_weights_alone_are_not_continued(run):
    facts = run / "step_0000004" / "facts.json"
    imported = run.with_name("imported")
    store = CheckpointStore(run)
    names = [name for name in store.tensors(4) if name.startswith("model.")]
    blocks = {
        name: TensorSlice(tensor, tuple(tensor.shape), (0,) * tensor.ndim)
        for name, tensor in store.read_tensors(4, names)
    }
    weights_alone = json.loads(facts.read_text()) | {"optimizer": {}, "phases": [], "state": {"step": 0}}
    CheckpointStore(imported).save(0, blocks, weights_alone)
    config = run.with_name("run.yaml")
    for flags in (["--load", str(imported)], ["--save", str(imported)]):
        said = train(config, *flags, "--save", str(run.with_name("new")), *flags, status=2)
        assert "holds weights only" in said
        assert f"--pretrained-checkpoint {imported}" in said
    new = ["--save", str(run.with_name("new")), "--exit-interval", "1"]
    train(config, "--pretrained-checkpoint", str(imported), *new)
    train(config, "--load", str(imported), "--finetune", *new, "--exit-interval", "2")
    assert len(read_metrics(run.with_name("new") / "metrics.jsonl")) == 2


def test_without_a_folder_nothing_is_kept_and_that_is_said(run):
    config = run.with_name("run.yaml")
    lines = [line for line in config.read_text().splitlines() if not line.startswith("save:")]
    config.write_text("\n".join(lines))
    said = train(config, "--train-iters", "3")
    assert said.count("no --save: nothing of this run will be kept") == 1
    assert "--ckpt-step 4 without a folder" in train(config, "--ckpt-step", "4", status=2)
