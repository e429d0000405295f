"""Where a global batch stops being finite: the operation and the samples, whatever part of the model it begins in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.built_run import built, gradients
from helpers.processes import run_processes
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import parameters_with_spec
from steel_megatron.training.faults.probe import Findings, MicroBatch, Probe, consumer, non_finite_weights, place_name
from steel_megatron.training.faults.probe import probe as search
from steel_megatron.training.startup.setup import Components

GRADIENT = 1.0 / 128
NAN = float("nan")


def probe(components: Components) -> Findings:
    return search(components, 0, 8, GRADIENT)


def module_of(components: Components, name: str) -> nn.Module:
    return components.chunks[0].get_submodule(name)


FORWARD = {
    "embedding": "embedding",
    "blocks.0.attention_norm": "block 0, attention norm",
    "blocks.0.attention.query_key_value": "block 0, query, key and value projection",
    "blocks.0.attention.output": "block 0, attention's output projection",
    "blocks.0.mlp_norm": "block 0, MLP norm",
    "blocks.1.mlp.up": "block 1, MLP up projection",
    "blocks.1.mlp.down": "block 1, MLP down projection",
    "final_norm": "final norm",
    "head": "head and loss",
}


@pytest.mark.parametrize("knobs", [{}, {"recompute_granularity": "full"}], ids=["plain", "recomputed"])
def test_the_first_operation_that_is_not_finite_is_named(tmp_path: Path, knobs: dict[str, Any]) -> None:
    """Each in turn by its weight, of which all elements are none."""
    with built(tmp_path, **knobs) as (config, components):
        for name, place in FORWARD.items():
            (weight,) = (p for n, p in module_of(components, name).named_parameters() if n.endswith("weight"))
            kept = weight.detach().clone()
            weight.data.fill_(NAN)
            found = probe(components)
            weight.data.copy_(kept)
            assert found.where(config.model.num_layers) == f"{place}, forward pass"
            assert found.samples == list(range(8))
            assert found.weights
            assert all(weight_name.startswith(".".join(name.split(".")[:2])) for weight_name in found.weights)
        assert probe(components).finite


def planted(module: nn.Module, row: int, number: int) -> Any:
    """Has one gradient of a module's output made infinite, in a row of one micro-batch of a step."""
    calls = []

    def forward(_: nn.Module, __: Any, output: Any) -> None:
        calls.append(len(calls))
        if len(calls) == number:
            output = output[0] if isinstance(output, tuple) else output

            def spoil(grad: Tensor) -> Tensor:
                spoilt = grad.clone()
                spoilt[row, 3, 0] = float("inf")
                return spoilt

            output.register_hook(spoil)

    return module.register_forward_hook(forward)


BACKWARD = {
    "embedding": "block 0, attention norm",
    "blocks.0.attention_norm": "block 0, query, key and value projection",
    "blocks.0.attention.output": "block 0, MLP norm",
    "blocks.1.mlp_norm": "block 1, MLP up projection",
    "blocks.1.mlp.down": "final norm",
    "final_norm": "head and loss",
}


@pytest.mark.parametrize("name", BACKWARD)
def test_the_operation_whose_backward_pass_goes_wrong_is_named(tmp_path: Path, name: str) -> None:
    """In the second sample of the third micro-batch of two."""
    with built(tmp_path) as (config, components), planted(module_of(components, name), 1, 3):
        found = probe(components)
    assert found.where(config.model.num_layers) == f"{BACKWARD[name]}, backward pass"
    assert found.samples == [5]
    assert found.weights == []
    assert found.gradients  # behind it, those of the parameters


def test_a_gradient_that_is_spoilt_when_it_is_summed_is_named(tmp_path: Path) -> None:
    with built(tmp_path) as (config, components):
        weight = module_of(components, "blocks.1.mlp_norm").weight
        weight.register_hook(lambda grad: grad * NAN)
        found = probe(components)
    assert (found.forward, found.backward) == ({}, {})
    assert not found.finite
    assert found.samples == []
    assert found.where(config.model.num_layers).startswith("gradient of blocks.1.mlp_norm.weight")


def test_it_leaves_all_as_it_was_and_computes_what_the_step_did(tmp_path: Path) -> None:
    with built(tmp_path, hidden_dropout=0.2) as (_, components):
        parameters = list(parameters_with_spec(components.chunks))
        before = [parameter.detach().clone() for parameter in parameters]
        components.data_parallel.zero_grads()
        components.engine.train(components.train_data.global_batch(0, 8), 4, GRADIENT, 1)
        components.data_parallel.finish_grads()
        expected = gradients(components)
        assert probe(components).finite
        assert all(torch.equal(grad, expected[name]) for name, grad in gradients(components).items())
        assert all(torch.equal(parameter, kept) for parameter, kept in zip(parameters, before, strict=True))
        for stage in components.engine.stages:
            assert "forward" not in vars(stage)
            for module in stage.model.modules():
                assert not module._forward_hooks
                assert not module._forward_pre_hooks


def test_an_error_inside_takes_the_watch_away(tmp_path: Path) -> None:
    with built(tmp_path) as (_, components):
        stages = components.engine.stages
        components.engine.graphed = graphed = object()  # type: ignore[assignment]  # what it is does not matter
        batches = components.train_data.global_batch
        components.train_data.global_batch = lambda *_: iter(())  # type: ignore[method-assign]  # nothing can be read
        with pytest.raises(ValueError, match="micro-batches"):
            probe(components)
        components.train_data.global_batch = batches  # type: ignore[method-assign]
        assert components.engine.graphed is graphed
        assert "forward" not in vars(stages[0])
        looking = Probe(stages)
        looking.look(torch.full((2, 16, 32), NAN), 1, with_gradient=False)  # outside of a forward pass
        assert looking.found.finite


def by_a_rank(folder: Path, knobs: dict[str, Any]) -> tuple[str, list[int], list[str], list[str]]:
    from steel_megatron.config import load_run_config

    grid = Grid.create(load_run_config(None, knobs).parallel)
    with built(folder, grid, num_layers=4, **knobs) as (config, components):
        for chunk in components.chunks:
            for block in chunk.blocks:
                if block.layer == 2 and grid.tp.rank == grid.tp.size - 1:
                    block.mlp.up.weight.data[0, 0] = NAN
        weights = non_finite_weights(components)
        found = probe(components)
        return found.where(config.model.num_layers), found.samples, found.weights, weights


@pytest.mark.parametrize(
    "knobs",
    [
        {"pipeline_model_parallel_size": 2, "num_layers_per_virtual_pipeline_stage": 1},
        {"tensor_model_parallel_size": 2, "sequence_parallel": True},
        {},
    ],
    ids=["pp2-vpp", "tp2-sp", "dp2"],
)
def test_ranks_put_together_what_each_has_seen(tmp_path: Path, knobs: dict[str, Any]) -> None:
    """One weight of one rank is none; with data parallel both have it, and each half of the samples."""
    for where, samples, weights, again in run_processes(by_a_rank, 2, tmp_path, knobs):
        assert where == "block 2, MLP up projection, forward pass"
        assert samples == list(range(8))
        assert len(weights) == 1
        assert weights[0].startswith("blocks.2.mlp.")
        assert again == weights


@pytest.mark.parametrize(
    ("shape", "tp_rank", "bad", "samples"),
    [
        ((2, 8, 4), 0, (1, 3), [7]),
        ((2, 8, 4), 1, (0, 0), [5]),
        ((1, 8, 4), 0, (0, 7), [5]),  # this rank's half of 16 tokens: the first sample
        ((1, 8, 4), 1, (0, 0), [7]),
        ((2, 8, 2, 2), 0, (1, 0), [7]),
    ],
)
def test_whose_token_an_element_is_of(shape, tp_rank, bad, samples) -> None:
    activation = torch.zeros(shape)
    micro_batch = MicroBatch([5, 7], 8, tp_rank)
    assert micro_batch.not_finite(activation) == []
    activation[bad][..., -1] = float("-inf")
    assert micro_batch.not_finite(activation) == samples


def test_places_are_named_in_their_order() -> None:
    assert [place_name(place, 2) for place in (0, 11, 19, 28, 31, 32)] == [
        "embedding",
        "block 0, attention norm",
        "block 0, MLP down projection",
        "block 1, MLP activation",
        "final norm",
        "head and loss",
    ]
    assert [consumer(place) for place in (0, 11, 14, 19, 29, 31)] == [11, 12, 16, 21, 31, 32]
    found = Findings(gradients=["blocks.0.mlp.up.weight (1 of 4 elements on rank 0)"])
    assert found.where(2) == "gradient of blocks.0.mlp.up.weight (1 of 4 elements on rank 0)"
    assert not found.finite
    assert Findings(weights=["embedding.weight"]).finite
    assert Findings().where(2) == ""
    assert Findings(forward={9: 31, 4: 32}, backward={1: 0}).samples == [4, 9]
    assert Findings(forward={9: 31, 4: 32}, backward={1: 0}).where(2) == "head and loss, forward pass"
