"""Where a run starts from, and what is refused before it does."""

from __future__ import annotations

import torch

from helpers.tiny_run import run_config, train
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.training.output.metrics_rows import read_metrics


def test_load_of_something_that_is_not_there_is_an_error(tmp_path):
    config = run_config(tmp_path)
    output = train(config, "--load", str(tmp_path / "nothing"), status=2)
    assert "no such folder" in output
    (tmp_path / "empty").mkdir()
    output = train(config, "--load", str(tmp_path / "empty"), status=2)
    assert "holds no whole checkpoint" in output
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_another_model_shape_is_named(tmp_path):
    config = run_config(tmp_path, train_iters=4)
    train(config)
    output = train(config, "--train-iters", "8", "--hidden-size", "64", "--num-layers", "3", status=2)
    assert "num_layers 2 there, 3 here" in output
    assert "hidden_size 32 there, 64 here" in output


def test_pretrained_weights_start_a_new_run(tmp_path):
    config = run_config(tmp_path, train_iters=12)
    train(config, "--save", str(tmp_path / "first"))
    end = read_metrics(tmp_path / "first" / "metrics.jsonl")[-1]["loss"]
    train(config, "--save", str(tmp_path / "second"), "--pretrained-checkpoint", str(tmp_path / "first"))
    rows = read_metrics(tmp_path / "second" / "metrics.jsonl")
    begin = read_metrics(tmp_path / "first" / "metrics.jsonl")[0]["loss"]
    assert rows[0]["step"] == 1
    assert abs(rows[0]["loss"] - end) < abs(rows[0]["loss"] - begin)


def test_precision_can_change_on_the_way(tmp_path):
    """bf16 → fp32 takes up the fp32 masters; fp32 → bf16 makes masters of the weights."""
    config = run_config(tmp_path, train_iters=4, precision="bf16")
    train(config)
    store = CheckpointStore(tmp_path / "run")
    masters = dict(store.read_tensors(4, ["optimizer.master.final_norm.weight", "optimizer.master.embedding.weight"]))
    train(config, "--precision", "fp32", "--train-iters", "5", "--lr", "0", "--min-lr", "0")
    weights = dict(store.read_tensors(5, ["model.final_norm.weight", "model.embedding.weight"]))
    for name, weight in weights.items():
        assert torch.equal(weight, masters[name.replace("model", "optimizer.master", 1)])
    train(config, "--precision", "bf16", "--train-iters", "6", "--lr", "0", "--min-lr", "0")
    again = dict(store.read_tensors(6, list(masters)))
    for name, master in masters.items():
        assert torch.equal(again[name], master)


def test_vocabulary_smaller_than_the_data_is_refused(tmp_path):
    output = train(run_config(tmp_path, vocab_size=50), status=2)
    assert "50" in output
    assert "Traceback" not in output
