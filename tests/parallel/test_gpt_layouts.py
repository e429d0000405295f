"""The real model under tensor, sequence and data parallel: loss, gradients and gradient norm of one process."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from helpers.processes import run_processes
from helpers.toy_model import assert_blocks_equal, whole_gradients
from steel_megatron.config import ModelConfig, ParallelConfig
from steel_megatron.model.gpt import GPT
from steel_megatron.model.recompute import Recompute
from steel_megatron.ops.dropout import DropoutKey
from steel_megatron.optim.grad_norm import counted_gradients, gradient_norm
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import row_slices

SHAPE: dict[str, Any] = {
    "num_layers": 2,
    "hidden_size": 32,
    "ffn_hidden_size": 48,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
    "vocab_size": 203,
    "make_vocab_size_divisible_by": 8,
    "init_method_std": 0.2,
}
MODELS: dict[str, dict[str, Any]] = {
    "multi-query, qk-norm": {"num_query_groups": 1, "qk_layernorm": True},
    "two key heads, biases, tied": {
        "num_query_groups": 2,
        "add_qkv_bias": True,
        "add_bias_linear": True,
        "untie_embeddings_and_output_weights": False,
    },
    "GPT-2 with dropout": {
        "num_query_groups": 4,
        "normalization": "LayerNorm",
        "activation": "gelu_tanh",
        "position_embedding_type": "learned_absolute",
        "add_bias_linear": True,
        "attention_dropout": 0.2,
        "hidden_dropout": 0.2,
    },
}
SAMPLES, SEQUENCE = 4, 16


def gradients(model: GPT, grid: Grid, shard: bool) -> tuple[torch.Tensor, DataParallel]:
    """Loss summed over the global batch, and its gradients."""
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, SHAPE["vocab_size"], (SAMPLES, SEQUENCE + 1), generator=generator)
    mask = torch.rand(SAMPLES, SEQUENCE, generator=generator) < 0.8
    own = SAMPLES // grid.dp.size
    rows = slice(grid.dp.rank * own, (grid.dp.rank + 1) * own)
    data_parallel = DataParallel([model], grid, shard=shard, bucket_size=3000)
    data_parallel.last_micro_batch()
    loss = model.loss(
        tokens[rows, :-1], tokens[rows, 1:], mask[rows], dropout=DropoutKey(5, torch.arange(SAMPLES)[rows])
    )[0]
    loss.backward()
    data_parallel.finish_grads()
    total = loss.detach().clone()
    if grid.dp.size > 1:
        torch.distributed.all_reduce(total, group=grid.dp.group)
    return total, data_parallel


def compare(overrides: dict[str, Any]) -> int:
    """Every layout of the processes at hand against one process; returns how many there were."""
    config = ModelConfig(**{**SHAPE, **overrides})
    single = Grid.single()
    model = GPT(config, single, dtype=torch.float32, seed=7)
    expected_loss, owner = gradients(model, single, shard=False)
    expected = whole_gradients(model)
    expected_norm = gradient_norm(counted_gradients(owner.shards, single), single)
    count = 0
    for tp, sequence_parallel, shard, recompute in itertools.product(
        (1, 2, 4), (False, True), (False, True), ("none", "full")
    ):
        if (tp == 1 and sequence_parallel) or (recompute == "full" and not shard):
            continue
        grid = Grid.create(ParallelConfig(tensor_model_parallel_size=tp, sequence_parallel=sequence_parallel))
        model = GPT(config, grid, dtype=torch.float32, seed=7, recompute=Recompute(recompute))
        loss, data_parallel = gradients(model, grid, shard)
        torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=0)
        norm = gradient_norm(counted_gradients(data_parallel.shards, grid), grid)
        torch.testing.assert_close(norm, expected_norm, rtol=1e-4, atol=0)
        for part in data_parallel.shards:
            blocks = row_slices(part.parameter, part.first_row, part.grad_rows)
            assert_blocks_equal(blocks, expected, rtol=1e-3, atol=2e-5 * float(expected_norm))
        count += 1
    return count


def every_model() -> dict[str, int]:
    return {name: compare(overrides) for name, overrides in MODELS.items()}


def test_the_model_is_the_same_on_every_layout_of_tensor_and_data_parallel():
    assert run_processes(every_model, 4) == [dict.fromkeys(MODELS, 15)] * 4
