"""A loss whose logits are made in chunks has the value and the gradients of whole logits."""

from __future__ import annotations

import pytest
import torch

from steel_megatron.config import ModelConfig
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor import linear_cross_entropy


def step(tied: bool, z_loss: float):
    config = ModelConfig(
        num_layers=2,
        hidden_size=32,
        ffn_hidden_size=48,
        num_attention_heads=4,
        num_query_groups=2,
        vocab_size=61,
        untie_embeddings_and_output_weights=not tied,
    )
    model = GPT(config, Grid.single(), dtype=torch.float32, seed=1)
    data_parallel = DataParallel([model], Grid.single(), shard=False)
    data_parallel.zero_grads()
    data_parallel.last_micro_batch()
    tokens = torch.randint(0, 61, (3, 18), generator=torch.Generator().manual_seed(1))
    mask = torch.rand(3, 17, generator=torch.Generator().manual_seed(2)) < 0.7
    loss, samples_2B = model.loss(tokens[:, :-1], tokens[:, 1:], mask, loss_gradient=2.0, z_loss=z_loss)
    torch.autograd.backward(loss, torch.tensor(2.0))
    data_parallel.finish_grads()
    return loss.detach(), samples_2B, data_parallel.grads.clone()


@pytest.mark.parametrize(("tied", "z_loss"), [(False, 0.01), (True, 0.0)])
def test_chunks_change_nothing(monkeypatch, tied, z_loss):
    whole = step(tied, z_loss)
    torch.testing.assert_close(whole[0], whole[1].sum())
    assert bool(whole[1][1].any()) == (z_loss > 0)
    monkeypatch.setitem(linear_cross_entropy.CHUNK_BYTES, "cpu", 5 * 61 * 4 + 2000)
    for found, expected in zip(step(tied, z_loss), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
