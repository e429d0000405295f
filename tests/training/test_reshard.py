"""A checkpoint saved on any layout goes on on any other, with the same samples and the same curve."""

from __future__ import annotations

import itertools

import pytest
import torch
import yaml

from helpers.tiny_run import MODEL, run_config, train
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import load_run_config
from steel_megatron.model.flops import model_flops
from steel_megatron.training.output.metrics_rows import read_metrics

LAYOUTS = {
    "one": (1, []),
    "dp2": (2, []),
    "dp4-nozero": (4, ["--no-use-distributed-optimizer"]),
    "tp2-dp2": (4, ["--tensor-model-parallel-size", "2", "--sequence-parallel"]),
    "tp4": (4, ["--tensor-model-parallel-size", "4"]),
    "pp2": (2, ["--pipeline-model-parallel-size", "2", "--pipeline-layout", "1,3"]),
    "pp2-vpp-dp2": (4, ["--pipeline-model-parallel-size", "2", "--num-layers-per-virtual-pipeline-stage", "1"]),
    "tp2-pp2": (4, ["--tensor-model-parallel-size", "2", "--pipeline-model-parallel-size", "2"]),
}
DEFAULT = [("tp2-pp2", "dp2"), ("dp4-nozero", "pp2"), ("pp2-vpp-dp2", "tp4")]


def move(tmp_path, first: str, second: str) -> None:
    config = run_config(tmp_path, precision="fp32", train_iters=6, eval_iters=0, save_interval=1000)
    tree = yaml.safe_load(config.read_text())
    # 101 ids pad to another number of rows on each tensor-parallel size; tied, so that both ends of a pipeline have it.
    tree["model"] = {**MODEL, "num_layers": 4, "untie_embeddings_and_output_weights": False}
    config.write_text(yaml.safe_dump(tree))
    train(config, "--save", str(tmp_path / "whole"))
    saved, moved = tmp_path / "cut", tmp_path / "moved"
    processes, flags = LAYOUTS[first]
    train(config, "--save", str(saved), "--exit-interval", "3", *flags, processes=processes)
    processes, flags = LAYOUTS[second]
    # One more step on either layout from the same checkpoint: every tensor of the state must come out alike.
    train(config, "--load", str(saved), "--save", str(moved), "--train-iters", "4", *flags, processes=processes)
    again = tmp_path / "again"
    back, back_flags = LAYOUTS[first]
    train(config, "--load", str(saved), "--save", str(again), "--train-iters", "4", *back_flags, processes=back)
    train(config, "--save", str(saved), *flags, processes=processes)
    curves = [
        torch.tensor([[row["loss"], row["grad_norm"]] for row in read_metrics(folder / "metrics.jsonl")])
        for folder in (tmp_path / "whole", saved)
    ]
    assert [len(curve) for curve in curves] == [6, 6]
    torch.testing.assert_close(curves[1][:, 0], curves[0][:, 0], rtol=1e-5, atol=0)
    torch.testing.assert_close(curves[1][:, 1], curves[0][:, 1], rtol=1e-4, atol=0)
    for row in read_metrics(saved / "metrics.jsonl"):  # FLOPs are the whole model's, not those of the stage that writes
        world_size = LAYOUTS[first if row["step"] <= 3 else second][0]
        per_token = row["tflops_per_device"] * world_size * 1e12 / row["tokens_per_second"]
        assert per_token == pytest.approx(model_flops(load_run_config(config).model, 16).total)
    one, other = CheckpointStore(moved), CheckpointStore(again)
    names = sorted(one.tensors(4))
    assert names == sorted(other.tensors(4))
    for (name, left), (_, right) in zip(one.read_tensors(4, names), other.read_tensors(4, names), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(("first", "second"), DEFAULT)
def test_checkpoints_move(tmp_path, first, second):
    move(tmp_path, first, second)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), sorted(set(itertools.permutations(LAYOUTS, 2)) - set(DEFAULT)))
def test_checkpoints_move_between_all_layouts(tmp_path, first, second):
    move(tmp_path, first, second)
