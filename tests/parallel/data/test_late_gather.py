"""However late the gathered parameters come, nothing reads them before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers.processes import run_processes
from helpers.tiny_gpt import random_tokens, tiny_config
from steel_megatron.config import OptimizerConfig, ParallelConfig, TrainingConfig
from steel_megatron.model.gpt import GPT
from steel_megatron.model.recompute import Recompute
from steel_megatron.model.slices import model_slices
from steel_megatron.optim.optimizer import Optimizer
from steel_megatron.parallel import collectives
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Axis, Grid
from steel_megatron.parallel.tensor import linear_cross_entropy

MODELS = {
    "untied": {},
    "tied": {"untie_embeddings_and_output_weights": False, "qk_layernorm": True},
    "GPT-2": {"normalization": "LayerNorm", "position_embedding_type": "learned_absolute", "add_bias_linear": True},
}


class Late(collectives.Pending):
    """A gather whose values are only there once it has been waited for; until then the other ranks' rows are noise."""

    def __init__(self, flat: Tensor, axis: Axis) -> None:
        pending = GATHER(flat.clone(), axis)
        for rank, rows in enumerate(flat.chunk(axis.size)):
            if rank != axis.rank:
                rows.fill_(1e3)
        super().__init__((), lambda: flat.copy_(pending.wait()))


GATHER = collectives.all_gather_flat


def train(options: dict, overlap: bool, recompute: str, late: bool) -> dict[str, Tensor]:
    """Three steps on this rank's samples; the weights at the end. The head works in chunks of tokens."""
    collectives.all_gather_flat = Late if late else GATHER
    linear_cross_entropy.tokens_per_strip = lambda weight, tokens: 7
    grid = Grid.create(ParallelConfig())
    model = GPT(tiny_config(**options), grid, dtype=torch.float32, seed=3, recompute=Recompute(recompute))
    data_parallel = DataParallel([model], grid, shard=True, bucket_size=2000, overlap_param_gather=overlap)
    optimizer = Optimizer(data_parallel, OptimizerConfig(), TrainingConfig(precision="fp32"), grid)
    for step in range(3):
        tokens = random_tokens(2, 12, seed=10 * step + grid.dp.rank)
        data_parallel.zero_grads()
        data_parallel.last_micro_batch()
        everything = torch.ones_like(tokens, dtype=torch.bool)
        model.loss(tokens, tokens.roll(-1, 1), everything, loss_gradient=1.0)[0].backward()
        data_parallel.finish_grads()
        optimizer.step(1e-2, 1.0 / 48)
        data_parallel.gather_parameters()
    data_parallel.wait_parameters()
    return {name: block.tensor.clone() for name, block in model_slices([model]).items()}


def compare(recompute: str) -> None:
    for options in MODELS.values():
        expected = train(options, overlap=False, recompute="none", late=False)
        for name, tensor in train(options, overlap=True, recompute=recompute, late=True).items():
            assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("recompute", ["none", "full"])
def test_nothing_reads_a_parameter_before_it_is_gathered(recompute):
    run_processes(compare, 2, recompute)


def small_parts_of_a_sum() -> None:
    """In bf16 the sum of 1 and 2⁻¹² is 1."""
    grid = Grid.create(ParallelConfig())
    for shard in (False, True):
        model = GPT(tiny_config(), grid, dtype=torch.bfloat16, seed=3)
        data_parallel = DataParallel([model], grid, shard=shard)
        data_parallel.grads.fill_(1.0 if grid.dp.rank == 0 else 2.0**-12)
        data_parallel.last_micro_batch()
        data_parallel.finish_grads()
        assert all(torch.all(part.grad_rows == 1.0 + 2.0**-12) for part in data_parallel.shards)


def test_gradients_of_a_bf16_model_are_summed_over_ranks_in_fp32():
    run_processes(small_parts_of_a_sum, 2)
