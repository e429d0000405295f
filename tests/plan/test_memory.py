"""Predicted memory against what a real step keeps, and over layouts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from steel_megatron.config import RunConfig, load_run_config
from steel_megatron.model.gpt import GPT
from steel_megatron.model.recompute import Recompute
from steel_megatron.model.stages import stage_layers
from steel_megatron.parallel.mesh import Mesh
from steel_megatron.parallel.pipeline.actions import Action, Kind
from steel_megatron.plan.memory import chunk_elements, estimate_memory, peak_elements, rank_memory
from steel_megatron.plan.pipeline import planned_schedule
from steel_megatron.plan.report import planned
from steel_megatron.plan.size import count_parameters


def run_of(preset: str, **given: Any) -> RunConfig:
    return planned(load_run_config(None, given, preset))


def kept_per_token(model: GPT, batch: int = 2, length: int = 64) -> float:
    """bf16 elements that a forward pass keeps for the backward pass, per token, without weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address is used again
        return tensor

    tokens = torch.randint(0, 8000, (batch, length))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.loss(tokens, tokens, torch.ones_like(tokens, dtype=torch.bool))
    return sum(size for size, _ in kept.values()) / (tokens.numel() * 2)


@pytest.mark.parametrize(
    "recompute",
    [
        Recompute(),
        Recompute("selective"),
        Recompute("full"),
        Recompute("full", "uniform", 2),
        Recompute("full", "block", 3),
    ],
    ids=lambda recompute: f"{recompute.granularity}-{recompute.method}-{recompute.layers}",
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"qk_layernorm": True},
        {"activation": "gelu_tanh", "num_query_groups": 8},
        {"normalization": "LayerNorm", "position_embedding_type": "learned_absolute", "add_bias_linear": True},
    ],
    ids=["llama", "qk_layernorm", "gelu", "gpt2"],
)
def test_kept_activations_are_as_predicted(options, recompute):
    config = run_of("demo", num_layers=4, **options)
    model = GPT(config.model, Mesh.single(), dtype=torch.bfloat16, seed=1, recompute=recompute)
    ((part,),) = stage_layers(config.model, config.parallel, 64)
    kept, _ = chunk_elements(config.model, config.parallel, recompute, part)
    # Statistics of norms and of attention, rotations and token ids are small and not predicted.
    assert kept_per_token(model) == pytest.approx(kept, rel=0.035)


def test_recomputing_one_block_makes_what_a_block_would_keep():
    config = run_of("demo", num_layers=4)
    ((part,),) = stage_layers(config.model, config.parallel, 64)
    all_kept, nothing = chunk_elements(config.model, config.parallel, Recompute(), part)
    kept, again = chunk_elements(config.model, config.parallel, Recompute("full"), part)
    assert nothing == 0
    assert all_kept == kept + 4 * (again - config.model.hidden_size)


def test_peak_follows_the_actions():
    forward, backward = Kind.FORWARD, Kind.BACKWARD
    order = [(forward, 0), (forward, 1), (backward, 1), (forward, 0), (backward, 0), (backward, 0)]
    actions = [Action(kind, chunk, 0) for kind, chunk in order]
    assert peak_elements(actions, [(10, 0), (5, 0)]) == 20  # two of chunk 0
    assert peak_elements(actions, [(10, 0), (5, 7)]) == 22  # chunk 1 computes 7 again beside its 5 and chunk 0's 10
    assert peak_elements(actions, [(10, 3), (5, 0)]) == 23


def test_zero1_divides_the_optimizer_only():
    config = run_of("steel_1b")
    one, eight = estimate_memory(config, 1), estimate_memory(config, 8)
    assert eight.optimizer == one.optimizer // 8
    assert (eight.weights, eight.gradients, eight.activations) == (one.weights, one.gradients, one.activations)
    assert estimate_memory(run_of("steel_1b", use_distributed_optimizer=False), 8) == one


@pytest.mark.parametrize("preset", ["tinyllama_1.1b", "steel_1b"])  # a head of its own, and a tied one
def test_pipeline_ranks_hold_the_model_between_them(preset):
    config = run_of(preset, pipeline_model_parallel_size=3)
    schedule = planned_schedule(config, 3)
    ranks = [rank_memory(config, 3, schedule, rank) for rank in range(3)]
    parameters = count_parameters(config.model)
    copies = parameters.embedding + parameters.padding if config.model.tied else 0
    assert sum(rank.weights for rank in ranks) == 2 * (parameters.total + parameters.padding + copies)
    assert estimate_memory(config, 3) == max(ranks, key=lambda rank: rank.total)


def test_tensor_parallel_divides_matrices_and_sequence_parallel_the_rest():
    def run(**layout: Any) -> RunConfig:
        return run_of("tinyllama_1.1b", vocab_size=32768, **layout)  # padded alike on any layout

    one = estimate_memory(run(), 1)
    tensor = estimate_memory(run(tensor_model_parallel_size=4), 4)
    sequence = estimate_memory(run(tensor_model_parallel_size=4, sequence_parallel=True), 4)
    norms = 2 * count_parameters(run().model).norms
    assert tensor.weights == (one.weights - norms) // 4 + norms
    assert sequence.weights == tensor.weights
    assert one.activations / 4 < tensor.activations < one.activations
    assert sequence.activations == one.activations // 4


def test_1f1b_keeps_less_than_gpipe():
    given = {"pipeline_model_parallel_size": 2, "global_batch_size": 64, "micro_batch_size": 4}
    gpipe, one_f_one_b = (
        estimate_memory(run_of("tinyllama_1.1b", pipeline_schedule=name, **given), 2) for name in ("gpipe", "1f1b")
    )
    assert one_f_one_b.activations * 6 < gpipe.activations
