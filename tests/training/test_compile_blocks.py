"""Runs with --compile-blocks compute what the same runs do without, on every layout, with documents and dropout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.processes import run_processes
from helpers.tiny_run import run_config, train
from steel_megatron.config import RunConfig
from steel_megatron.model.pieces import Pieces
from steel_megatron.parallel.grid import Grid
from steel_megatron.training.startup import setup
from steel_megatron.verify.layouts import Layout, Outcome, compare, run_layout, write_sample_data
from steel_megatron.verify.processes import verify
from steel_megatron.verify.shrink import shrink

SHAPES: dict[str, dict[str, Any]] = {
    "documents, tied, qk-norm": {
        "untie_embeddings_and_output_weights": False,
        "num_query_groups": 8,
        "qk_layernorm": True,
        "reset_attention_mask": True,
        "reset_position_ids": True,
    },
    "dropout, biases": {
        "num_query_groups": 1,
        "add_qkv_bias": True,
        "hidden_dropout": 0.1,
        "attention_dropout": 0.1,
    },
    "GPT-2": {
        "untie_embeddings_and_output_weights": False,
        "normalization": "LayerNorm",
        "position_embedding_type": "learned_absolute",
        "activation": "gelu",
        "add_bias_linear": True,
        "num_query_groups": 32,
    },
}
LAYOUTS = [
    ("documents, tied, qk-norm", "tp2,sp,selective"),
    ("dropout, biases", "pp2,vpp2,full"),
]
MORE_LAYOUTS = [
    ("documents, tied, qk-norm", "tp2,sp,dp2"),
    ("documents, tied, qk-norm", "pp2,vpp2,dp2,full"),
    ("dropout, biases", "tp2,pp2"),
    ("dropout, biases", "tp2,sp,dp2,selective"),
    ("GPT-2", "dp4"),
    ("GPT-2", "tp2,sp,pp2,nozero"),
]


class QuickPieces(Pieces):
    """Traced and differentiated as by the real compiler, then run by torch."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device, "aot_eager")


def config_of(shape: str) -> RunConfig:
    return shrink(RunConfig().replace(**SHAPES[shape]), steps=2).replace(global_batch_size=16)


def difference(folder: Path, shape: str, name: str) -> Outcome:
    """A layout with compiled blocks against the same without, on the processes at hand."""
    setup.Pieces = QuickPieces
    config = config_of(shape).replace(data_path=[str(folder / "tokens")])
    layouts = [Layout.parse(name), Layout.parse(f"{name},compile")]
    grid = Grid.create(layouts[0].apply(config).parallel)
    eager, compiled = (run_layout(config, grid, layout, folder / layout.name) for layout in layouts)
    return compare(compiled, eager, folder / layouts[1].name, folder / layouts[0].name)


@pytest.mark.parametrize(
    ("shape", "name"), [*LAYOUTS, *(pytest.param(*layout, marks=pytest.mark.slow) for layout in MORE_LAYOUTS)]
)
def test_layouts_compute_the_same_with_compiled_blocks(tmp_path, shape, name):
    write_sample_data(tmp_path, 301)
    for outcome in run_processes(difference, Layout.parse(name).world_size, tmp_path, shape, name):
        assert outcome.agrees, outcome


def test_a_run_resumes_without_what_it_began_with(tmp_path, monkeypatch):
    """The option is no part of a checkpoint: names and values are the same."""
    monkeypatch.setattr(setup, "Pieces", QuickPieces)
    losses = {}
    for way, flags in (("eager", ([], [])), ("mixed", (["--compile-blocks"], ["--no-compile-blocks"]))):
        folder = tmp_path / way
        folder.mkdir()
        path = run_config(folder, train_iters=6, save_interval=3, precision="fp32", eval_iters=0)
        train(path, "--exit-interval", "3", *flags[0])
        train(path, "--load", str(folder / "run"), *flags[1])
        rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
        losses[way] = [row["loss"] for row in rows]
    assert len(losses["mixed"]) == 6
    assert losses["mixed"] == pytest.approx(losses["eager"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_every_layout_against_one_process(shape):
    """With the real compiler."""
    names = ["dp1,full", "dp2", "tp2,sp", "pp2,gpipe", "pp2,vpp1,dp2,selective", "tp4,sp", "tp2,pp2,dp2,nozero,full"]
    layouts = [Layout.parse(f"{name},compile") for name in names]
    outcomes = list(verify(config_of(shape), layouts, "cpu"))
    assert [outcome for outcome in outcomes if not outcome.agrees] == []
