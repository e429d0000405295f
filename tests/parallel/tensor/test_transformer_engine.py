"""A model whose linear layers are Transformer Engine's, by a stand-in that holds to its rules."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from helpers import transformer_engine_stand_in as stand_in
from helpers.processes import run_processes
from helpers.sixteens import SHAPE
from helpers.toy_model import whole_gradients
from steel_megatron.config import ModelConfig, ParallelConfig
from steel_megatron.model.gpt import GPT
from steel_megatron.ops import transformer_engine
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor.fp8 import Fp8Linears
from steel_megatron.parallel.tensor.kinds import Linears
from steel_megatron.parallel.tensor.transformer_engine import TransformerEngineLinears


@pytest.fixture
def te(monkeypatch):
    """The stand-in, for one test."""
    stand_in.restore_after(monkeypatch)
    stand_in.install()


def gradients(linears: Linears, grid: Grid | None = None, steps: int = 1) -> tuple[float, GPT]:
    """Loss and model with its gradients after the last of some steps of two micro-batches; weights grow in between."""
    grid = grid or Grid.single()
    model = GPT(ModelConfig(**SHAPE), grid, dtype=torch.float32, seed=7, linears=linears)
    data_parallel = DataParallel([model], grid, shard=False)
    generator = torch.Generator().manual_seed(3)
    total = 0.0
    for step in range(steps):
        data_parallel.zero_grads()
        total = 0.0
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.0 + 0.1 * step)
        with linears.step():
            for number in range(2):
                if number == 1:
                    data_parallel.last_micro_batch()
                tokens = torch.randint(0, SHAPE["vocab_size"], (2, 17), generator=generator)
                loss = model.loss(tokens[:, :-1], tokens[:, 1:], torch.ones(2, 16, dtype=torch.bool))[0]
                loss.backward()
                total += loss.item()
        data_parallel.finish_grads()
    return total, model


def assert_same_gradients(found: GPT, expected: dict[str, torch.Tensor], whole: bool = True) -> None:
    largest = max(float(value.abs().max()) for value in expected.values())
    for name, value in whole_gradients(found).items():
        place = slice(None) if whole else value != 0  # this rank's part
        torch.testing.assert_close(value[place], expected[name][place], rtol=1e-4, atol=1e-6 * largest, msg=name)


def test_without_8_bits_it_is_the_same_model(te):
    expected_loss, plain = gradients(Linears())
    loss, model = gradients(TransformerEngineLinears())
    assert abs(loss / expected_loss - 1) < 1e-6
    assert_same_gradients(model, whole_gradients(plain))
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert len(stand_in.Linear.made) == 4 * SHAPE["num_layers"]  # not the head
    assert all(set(layer.told) == {None} for layer in stand_in.Linear.made)
    assert stand_in.autocast.entered == []


def test_in_8_bits_it_is_our_8_bit_model_and_rounds_weights_once_per_step(te):
    expected_loss, ours = gradients(Fp8Linears("hybrid"), steps=2)
    recipe = transformer_engine.make_recipe("hybrid", "tensorwise", 1, reduce_amax=False)
    loss, model = gradients(TransformerEngineLinears(recipe, "group"), steps=2)
    assert abs(loss / expected_loss - 1) < 1e-6
    assert_same_gradients(model, whole_gradients(ours))
    assert all(layer.told == [True, False] * 2 for layer in stand_in.Linear.made)
    # A region per micro-batch, in which no module runs twice.
    assert [(region.recipe, region.group) for region in stand_in.autocast.entered] == [(recipe, "group")] * 4


def test_outside_a_step_nothing_is_kept(te):
    recipe = transformer_engine.make_recipe("e4m3", "tensorwise", 1, reduce_amax=False)
    model = GPT(
        ModelConfig(**SHAPE), Grid.single(), dtype=torch.float32, seed=7, linears=TransformerEngineLinears(recipe)
    )
    with torch.no_grad():
        model(torch.zeros(1, 16, dtype=torch.int64))
    assert all(layer.told == [None] for layer in stand_in.Linear.made)


def layouts() -> None:
    stand_in.install()
    expected_loss, plain = gradients(Linears())
    expected = whole_gradients(plain)
    for sequence_parallel in (False, True):
        grid = Grid.create(ParallelConfig(tensor_model_parallel_size=2, sequence_parallel=sequence_parallel))
        loss, model = gradients(TransformerEngineLinears(), grid)
        assert abs(loss / expected_loss - 1) < 1e-5
        assert_same_gradients(model, expected, whole=False)


def test_tensor_and_sequence_parallel():
    run_processes(layouts, 2)


def stages() -> list[float]:
    """For each layout: the sum of the ranks over this rank's stage group; -1 for a rank that is alone."""
    sums = []
    for tp, pp, order in ((2, 1, "tp-dp-pp"), (1, 2, "tp-dp-pp"), (2, 2, "pp-tp-dp"), (1, 4, "tp-dp-pp")):
        parallel = ParallelConfig(tensor_model_parallel_size=tp, pipeline_model_parallel_size=pp, rank_order=order)
        group = Grid.create(parallel).make("tp", "cp", "dp").group
        total = torch.tensor(float(dist.get_rank()))
        if group is not None:
            dist.all_reduce(total, group=group)
        sums.append(-1.0 if group is None else total.item())
    return sums


def test_scales_are_shared_by_the_ranks_of_a_stage():
    everyone, alone = 6.0, -1.0
    first, last, even, odd = 1.0, 5.0, 2.0, 4.0  # ranks 0 and 1, 2 and 3; 0 and 2, 1 and 3
    assert run_processes(stages, 4) == [
        [everyone, first, even, alone],
        [everyone, first, odd, alone],
        [everyone, last, even, alone],
        [everyone, last, odd, alone],
    ]
