"""Micro-batches replayed from a graph train as they do without; on a CPU a tape of operations stands in for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.operation_tape import OperationTape
from helpers.processes import run_processes
from helpers.tiny_run import MODEL, run_config, train
from steel_megatron.config import ConfigError, RunConfig, check_run, load_run_config
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.pipeline.executor import Output, PassSettings
from steel_megatron.samples.batches import Batch
from steel_megatron.training.cuda_graph import GraphedPasses, fill
from steel_megatron.training.startup import setup
from steel_megatron.training.step_sums import Samples
from steel_megatron.verify.layouts import Layout, Outcome, compare, run_layout, write_sample_data
from steel_megatron.verify.shrink import shrink

SHAPES: dict[str, dict[str, Any]] = {
    "dropout, positions of documents": {
        "hidden_dropout": 0.1,
        "attention_dropout": 0.1,
        "reset_position_ids": True,
    },
    "tied, qk-norm, selective": {
        "untie_embeddings_and_output_weights": False,
        "num_query_groups": 8,
        "qk_layernorm": True,
        "recompute_granularity": "selective",
    },
}


def graphed_runs(folder: Path) -> list[tuple[Outcome, list[str]]]:
    """Each shape with and without the graph, on the processes at hand; their differences and what the graph did."""
    found = []
    for number, (name, knobs) in enumerate(SHAPES.items()):
        config = shrink(RunConfig().replace(**knobs), steps=3).replace(
            global_batch_size=8,
            cuda_graph_warmup_steps=1,
            data_path=[str(folder / "tokens")],
            overlap_grad_reduce=False,
            overlap_param_gather=False,
        )
        layout = Layout.parse(f"dp2,{config.training.recompute_granularity}".removesuffix(",none"))
        grid = Grid.create(layout.apply(config).parallel)
        weights = [folder / f"{number} {way}" for way in ("eager", "graph")]
        reference = run_layout(config, grid, layout, weights[0])
        tape = OperationTape()
        setup.cuda_graph = lambda device, tape=tape: tape  # type: ignore[misc]  # the stand-in
        config = config.replace(enable_cuda_graph=True)
        outcome = run_layout(config, grid, dataclasses.replace(layout, name=name), weights[1])
        found.append((compare(outcome, reference, weights[1], weights[0]), tape.log))
    return found


def test_replayed_micro_batches_train_as_eager_ones(tmp_path):
    write_sample_data(tmp_path, 301)
    for found in run_processes(graphed_runs, 2, tmp_path):
        assert len(found) == len(SHAPES)
        for outcome, log in found:
            assert outcome.agrees, outcome
            # The gradient nodes and one step beside the capture; 2 micro-batches per rank in each of two steps.
            assert log == ["beside"] * 2 + ["capture"] + ["replay"] * 4


class Toy:
    """loss = w · tokens; Python counts its calls, the device does not."""

    def __init__(self) -> None:
        self.weight = torch.tensor(3.0, requires_grad=True)
        self.weight.grad = torch.zeros(())
        self.calls = 0

    def forward(self, hidden: torch.Tensor | None, micro_batch: Batch, settings: PassSettings) -> Output:
        self.calls += 1
        losses_B = self.weight * micro_batch.tokens_BS.float().sum(1)
        samples = Samples(losses_B.detach(), micro_batch.loss_mask_BS.sum(1), micro_batch.source_ids_B)
        return Output(losses_B.sum(), samples)


def batch(*rows: list[int]) -> Batch:
    tokens = torch.tensor(rows)
    numbers = torch.arange(len(rows))
    return Batch(tokens, tokens, tokens >= 0, None, None, None, numbers, numbers, ["a"] * len(rows))


def test_a_graph_is_captured_anew_when_its_constant_changes():
    toy, tape = Toy(), OperationTape()
    passes = GraphedPasses(toy, tape, warmup_steps=1)
    eager = [Output(torch.tensor(7.0))]
    assert passes.run(lambda: eager, iter(()), 1, 1.0) == eager
    first, second = batch([1, 2], [3, -4]), batch([5, 6], [7, 8])
    second.source_ids_B.mul_(3)
    outputs = passes.run(list, [first, second], 2, 1.0)
    assert [float(output.result) for output in outputs] == [6.0, 78.0]
    assert float(toy.weight.grad) == 28.0
    outputs += passes.run(list, [second], 1, 0.5)
    assert float(outputs[2].result) == 78.0
    assert float(toy.weight.grad) == 28.0 + 13.0
    # Each replay's own, not what the last one left.
    assert [output.samples.losses_2B.tolist() for output in outputs] == [[9.0, -3.0], [33.0, 45.0], [33.0, 45.0]]
    assert [output.samples.tokens_B.tolist() for output in outputs] == [[2, 1], [2, 2], [2, 2]]
    assert [output.samples.sources_B.tolist() for output in outputs] == [[0, 1], [0, 3], [0, 3]]
    assert tape.log == ["beside", "capture", "replay", "replay", "capture", "replay"]
    assert toy.calls == 2


def test_a_step_has_as_many_micro_batches_as_it_says():
    toy = Toy()
    passes = GraphedPasses(toy, OperationTape(), warmup_steps=0)
    with pytest.raises(ValueError, match="zip"):
        passes.run(list, [batch([1, 2])], 2, 1.0)


@pytest.mark.parametrize(
    "other",
    [
        batch([1, 2, 3]),
        dataclasses.replace(batch([1, 2]), positions_BS=torch.zeros(1, 2)),
        dataclasses.replace(batch([1, 2]), lengths=[2]),
    ],
)
def test_what_has_another_shape_is_refused(other):
    with pytest.raises(ValueError, match="captured"):
        fill(batch([1, 2]), other)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"device": "cpu"}, "needs a GPU"),
        ({"tensor_model_parallel_size": 2}, "no messages between ranks"),
        ({"pipeline_model_parallel_size": 2}, "no messages between ranks"),
        ({"reset_attention_mask": True}, "documents differ"),
        ({"fp8_format": "hybrid"}, "8-bit"),
        ({"transformer_impl": "transformer_engine"}, "8-bit"),
        ({"overlap_param_gather": False}, "between graphs"),
        ({"overlap_grad_reduce": False}, "between graphs"),
        ({"overlap_grad_reduce": False, "overlap_param_gather": False, "cuda_graph_warmup_steps": 0}, "1 or more"),
    ],
)
def test_where_a_graph_cannot_be_right_it_is_refused(knobs, message):
    given = {**MODEL, "train_iters": 1, "seq_length": 16, "enable_cuda_graph": True, **knobs}
    with pytest.raises(ConfigError, match=message):
        check_run(load_run_config(overrides=given), world_size=2)


def test_one_process_may_leave_the_overlaps_on():
    check_run(load_run_config(overrides={**MODEL, "train_iters": 1, "seq_length": 16, "enable_cuda_graph": True}))


def test_without_a_gpu_the_run_is_refused(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    printed = train(run_config(tmp_path, device="auto"), "--enable-cuda-graph", status=2)
    assert "a CUDA graph needs a GPU" in printed


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "knobs", [{}, {"hidden_dropout": 0.1, "recompute_granularity": "full"}, {"qk_layernorm": True}]
)
def test_on_a_gpu_losses_are_those_without(tmp_path, knobs):
    write_sample_data(tmp_path, 301)
    config = shrink(RunConfig().replace(**knobs), steps=8)
    config = config.replace(data_path=[str(tmp_path / "tokens")], device="cuda")
    layout = Layout("dp1", switches=frozenset({config.training.recompute_granularity}))
    grid = Grid.single("cuda")
    reference = run_layout(config, grid, layout, tmp_path / "eager")
    config = config.replace(enable_cuda_graph=True)
    outcome = run_layout(config, grid, layout, tmp_path / "graph")
    assert compare(outcome, reference, tmp_path / "graph", tmp_path / "eager").agrees, outcome
