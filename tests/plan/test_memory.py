"""Predicted memory against what a real step keeps, and over layouts."""

from __future__ import annotations

from typing import Any

import pytest

from steel_megatron.config import RunConfig, load_run_config
from steel_megatron.model.stages import stage_layers
from steel_megatron.parallel.pipeline.actions import Action, Kind
from steel_megatron.parallel.tensor.linear_cross_entropy import CHUNK_BYTES
from steel_megatron.plan.activations import ChunkCost, Peak, chunk_cost, peak_of
from steel_megatron.plan.memory import estimate_memory, rank_memory
from steel_megatron.plan.pipeline import planned_schedule
from steel_megatron.plan.report import planned
from steel_megatron.plan.size import count_parameters


def run_of(preset: str, **given: Any) -> RunConfig:
    return planned(load_run_config(None, given, preset))


def cost_of(kept: int, **more: int) -> ChunkCost:
    return ChunkCost(kept - more.get("head", 0), **more)


def test_recomputing_one_block_makes_what_a_block_would_keep():
    config = run_of("demo", num_layers=4)
    again = run_of("demo", num_layers=4, recompute_granularity="full")
    ((part,),) = stage_layers(config.model, config.parallel, config.training.seq_length)
    whole, dropped = chunk_cost(config, part), chunk_cost(again, part)
    residual = 2 * config.model.hidden_size * config.training.micro_batch_size * config.training.seq_length
    assert whole.again == 0
    assert whole.kept == dropped.kept + 4 * dropped.again
    assert dropped.again > 10 * residual


def test_peak_follows_the_actions():
    forward, backward = Kind.FORWARD, Kind.BACKWARD
    order = [(forward, 0), (forward, 1), (backward, 1), (forward, 0), (backward, 0), (backward, 0)]
    actions = [Action(kind, chunk, 0) for kind, chunk in order]
    assert peak_of(actions, [cost_of(10), cost_of(5)]) == Peak(20, 0)  # two of chunk 0
    # Chunk 1 computes 7 again beside its 5 and chunk 0's 10.
    assert peak_of(actions, [cost_of(10), cost_of(5, again=7)]) == Peak(15, 7)
    assert peak_of(actions, [cost_of(10, again=3), cost_of(5)]) == Peak(20, 3)
    # Blocks run backward when the head's part is free again.
    assert peak_of(actions, [cost_of(2), cost_of(9, head=6, head_working=1, block_working=8)]) == Peak(5, 8)
    assert peak_of(actions, [cost_of(2), cost_of(9, head=6, head_working=4, block_working=8)]) == Peak(11, 4)


def test_a_large_vocabulary_costs_a_chunk_of_logits():
    small, large = (estimate_memory(run_of("steel_1b", vocab_size=size, device="cuda")) for size in (32000, 512000))
    tokens = 4 * 2048
    assert large.activations <= small.activations
    assert large.working < CHUNK_BYTES["cuda"] + (300 << 20) + 4 * tokens * 2048 < 2 * tokens * 512000


def test_moments_in_bf16_take_half():
    config = run_of("demo")
    halved = run_of("demo", exp_avg_dtype="bf16", exp_avg_sq_dtype="bf16")
    assert 2 * estimate_memory(halved).moments == estimate_memory(config).moments == 2 * estimate_memory(config).masters


def test_8_bit_layers_keep_less_and_hold_rounded_weights_both_ways():
    config = run_of("steel_1b")
    plain, rounded = estimate_memory(config), estimate_memory(run_of("steel_1b", fp8_format="hybrid"))
    model = config.model
    heads = (model.num_attention_heads + 2 * model.query_groups) * model.head_dim
    matrices = heads + model.num_attention_heads * model.head_dim + 3 * model.ffn_hidden_size  # columns of hidden rows
    assert rounded.weights - plain.weights == 2 * model.num_layers * model.hidden_size * matrices
    # Two normalised inputs and the activation's output at half; the attention's output once more.
    spared = 2 * model.hidden_size + model.ffn_hidden_size - model.num_attention_heads * model.head_dim
    tokens = config.training.micro_batch_size * config.training.seq_length
    assert plain.activations - rounded.activations == model.num_layers * tokens * spared


def test_zero1_divides_the_optimizer_only():
    config = run_of("steel_1b")
    one, eight = estimate_memory(config, 1), estimate_memory(config, 8)
    assert eight.optimizer == pytest.approx(one.optimizer / 8, rel=1e-3)  # cut between rows
    assert (eight.weights, eight.gradients) == pytest.approx((one.weights, one.gradients), rel=1e-3)  # padding
    assert (eight.activations, eight.working) == (one.activations, one.working)
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
    tokens = 4 * 2048
    whole = (17 + 4) * tokens  # on every rank: ids, labels and mask, and the logits' log of the sum of exp
    assert sequence.activations == (one.activations - whole) // 4 + whole + 8 * tokens  # and the embedding's own ids


def test_1f1b_keeps_less_than_gpipe():
    given = {"pipeline_model_parallel_size": 2, "global_batch_size": 64, "micro_batch_size": 4}
    gpipe, one_f_one_b = (
        estimate_memory(run_of("tinyllama_1.1b", pipeline_schedule=name, **given), 2) for name in ("gpipe", "1f1b")
    )
    assert one_f_one_b.activations * 6 < gpipe.activations
