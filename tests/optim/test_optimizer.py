"""The optimizer against torch's AdamW, on one process and on layouts of real processes."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

from helpers.apex_stand_in import use_stand_in
from helpers.kernels import set_backend
from helpers.processes import run_processes
from helpers.toy_model import ToyModel, assert_blocks_equal, toy_batch, whole_tensors
from helpers.toy_run import LR, SAMPLES, SCALE, STEPS, Run
from steel_megatron.config import OptimizerConfig, ParallelConfig
from steel_megatron.optim.grad_norm import NonFiniteGradientError, gradient_norm
from steel_megatron.optim.rules.adamw import AdamW
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import row_slices, spec_of


def torch_train(tied: bool, clip: float, steps: int = STEPS) -> tuple[ToyModel, list[float]]:
    """The same training by torch.optim.AdamW and clip_grad_norm_ on whole tensors."""
    model = ToyModel(Grid.single(), tied=tied)
    config = OptimizerConfig()
    groups = [
        {"params": [p for p in model.parameters() if spec_of(p).decay is decay], "weight_decay": 0.1 if decay else 0.0}
        for decay in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(config.adam_beta1, config.adam_beta2), eps=config.adam_eps)
    norms = []
    for step in range(steps):
        optimizer.zero_grad()
        (model.loss(*toy_batch(SAMPLES, seed=step)) * SCALE).backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), clip or float("inf")).item())
        optimizer.step()
    return model, norms


def set_optimizer(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    if backend == "apex":
        use_stand_in(monkeypatch)
    else:
        set_backend(monkeypatch, backend)


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_one_process_follows_torch(clip):
    run = Run(Grid.single(), clip_grad=clip)
    norms = run.train()
    model, expected = torch_train(False, clip)
    assert norms == pytest.approx(expected, rel=1e-6)
    assert min(norms) > 0.05, "clipping has something to do"
    for name, tensor in whole_tensors(model).items():
        torch.testing.assert_close(whole_tensors(run.model)[name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ["torch", "auto", "apex"])
def test_one_update_is_that_of_torchs_fused_kernel(monkeypatch, backend):
    set_optimizer(monkeypatch, backend)
    run = Run(Grid.single(), clip_grad=0.0)
    twin = ToyModel(Grid.single())
    run.backward(0)
    for parameter, other in zip(twin.parameters(), run.data_parallel.parameters, strict=True):
        parameter.grad = other.main_grad.clone()
    decay = [p for p in twin.parameters() if spec_of(p).decay]
    rest = [p for p in twin.parameters() if not spec_of(p).decay]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95), eps=1e-8, fused=True).step()
    run.optimizer.step(LR, 1.0)
    for parameter, other in zip(twin.parameters(), run.model.parameters(), strict=True):
        if backend == "torch":
            assert torch.equal(parameter, other)
        torch.testing.assert_close(parameter, other, rtol=1e-6, atol=1e-7)


def test_decay_is_for_matrices_only():
    rule = Run(Grid.single()).optimizer.rule
    assert isinstance(rule, AdamW)
    dimensions = {decay: [slot.shard.parameter.dim() for slot in slots] for decay, slots in rule.groups}
    assert set(dimensions[0.1]) == {2}
    assert dimensions[0.0] == [1] * 3
    assert all(piece.decay == (piece.master.dim() == 2) for slot in rule.slots for piece in slot.pieces)


def test_bf16_updates_are_not_lost_below_the_weights_precision():
    run = Run(Grid.single(), precision="bf16", weight_decay=0.0)
    before = [slot.master.clone() for slot in run.optimizer.slots]
    for _ in range(10):
        run.backward(0)
        run.optimizer.step(1e-5, SCALE)  # far below the spacing of bf16 numbers near 0.3
    for slot, old in zip(run.optimizer.slots, before, strict=True):
        moved = (slot.master - old).abs().max()
        assert moved == 0 if slot.shard.grad_rows.count_nonzero() == 0 else moved > 5e-5
        assert torch.equal(slot.shard.parameter, slot.master.bfloat16())


@pytest.mark.parametrize("backend", ["torch", "auto", "apex"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_non_finite_gradients_stop_the_run_before_any_weight_changes(monkeypatch, precision, backend):
    set_optimizer(monkeypatch, backend)
    run = Run(Grid.single(), precision=precision)
    run.train(0, 2)
    before = whole_tensors(run.model)
    moments = [[state.clone() for state in slot.states.values()] for slot in run.optimizer.slots]
    run.backward(2)
    run.model.qk.weight.main_grad[25, 3] = torch.inf  # in the rows of the key
    result = run.optimizer.step(LR, SCALE)
    with pytest.raises(NonFiniteGradientError, match=r"step 3: .*attention.key.weight \(1 of 144 elements on rank 0\)"):
        run.optimizer.check(3, float(result.grad_norm))
    run.step(3)  # whoever has not read the norm yet goes on, and changes nothing either
    for name, tensor in whole_tensors(run.model).items():
        assert torch.equal(tensor, before[name])
    for slot, old in zip(run.optimizer.slots, moments, strict=True):
        assert all(map(torch.equal, slot.states.values(), old))


def test_non_finite_steps_are_skipped_when_the_check_is_off():
    run = Run(Grid.single(), check_for_nan_in_loss_and_grad=False)
    before = whole_tensors(run.model)
    run.backward(0)
    run.model.norm.weight.main_grad[0] = torch.nan
    assert run.optimizer.step(LR, SCALE).skipped
    assert all(torch.equal(tensor, before[name]) for name, tensor in whole_tensors(run.model).items())


def test_fp16_overflow_skips_the_step_and_lowers_the_scale():
    run = Run(Grid.single(), precision="fp16", initial_loss_scale=1024.0, hysteresis=1)
    good = run.step(0)
    assert good == pytest.approx(torch_train(False, 0.0, 1)[1][0], rel=1e-2), "the norm is that of the unscaled loss"
    before = whole_tensors(run.model)
    run.backward(1)
    run.model.output.weight.main_grad[0, 0] = torch.inf
    result = run.optimizer.step(LR, SCALE)
    assert (result.skipped, result.loss_scale, run.optimizer.loss_scale) == (True, 1024.0, 512.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in whole_tensors(run.model).items())
    run.step(2)
    assert run.optimizer.scalars()["updates"] == 2


def test_weights_loaded_alone_become_the_masters():
    run, other = Run(Grid.single(), precision="bf16"), Run(Grid.single(), precision="bf16")
    other.train(0, 2)
    for parameter, loaded in zip(run.model.parameters(), other.model.parameters(), strict=True):
        parameter.data.copy_(loaded)
    run.optimizer.reset_masters()
    for slot in run.optimizer.slots:
        assert torch.equal(slot.master, slot.shard.param_rows.float())


def resume(grid: Grid, precision: str, shard: bool) -> None:
    """State saved after two steps and loaded into a fresh run gives the same bits as going on."""
    run = Run(grid, precision=precision, shard=shard)
    run.train(0, 2)
    blocks = {name: block.tensor.clone() for name, block in run.optimizer.slices().items()}
    weights = [parameter.detach().clone() for parameter in run.model.parameters()]
    scalars = copy.deepcopy(run.optimizer.scalars())
    run.train(2, 4)
    fresh = Run(grid, precision=precision, shard=shard)
    for parameter, saved in zip(fresh.model.parameters(), weights, strict=True):
        parameter.data.copy_(saved if precision == "fp32" else torch.zeros_like(saved))
    for name, block in fresh.optimizer.slices().items():
        block.tensor.copy_(blocks[name])
    fresh.optimizer.load_scalars(scalars)
    fresh.optimizer.reload_parameters()
    for parameter, saved in zip(fresh.model.parameters(), weights, strict=True):
        assert torch.equal(parameter, saved), "the weights come back from the masters, on every rank"
    fresh.train(2, 4)
    for parameter, other in zip(fresh.model.parameters(), run.model.parameters(), strict=True):
        assert torch.equal(parameter, other)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_optimizer_goes_on_bitwise(precision):
    resume(Grid.single(), precision, shard=True)


def every_layout() -> None:
    """Weights and gradient norms equal one process's by torch on every layout of the processes at hand."""
    expected = {tied: torch_train(tied, 0.05) for tied in (False, True)}
    world = torch.distributed.get_world_size()
    for tp, sequence_parallel, tied, shard in itertools.product(
        [size for size in (1, 2, 4) if size <= world], (False, True), (False, True), (False, True)
    ):
        grid = Grid.create(ParallelConfig(tensor_model_parallel_size=tp, sequence_parallel=sequence_parallel))
        run = Run(grid, tied=tied, shard=shard, clip_grad=0.05)
        norms = run.train()
        model, expected_norms = expected[tied]
        assert norms == pytest.approx(expected_norms, rel=1e-5), (tp, sequence_parallel, tied, shard)
        whole = whole_tensors(model)
        for slot in run.optimizer.slots:
            blocks = row_slices(slot.shard.parameter, slot.shard.first_row, slot.master)
            assert_blocks_equal(blocks, whole, rtol=1e-4, atol=1e-5)
        check_state_is_complete(run, whole)
    norm_counts_each_element_once(Grid.create(ParallelConfig(tensor_model_parallel_size=2)))
    for precision, shard in itertools.product(("fp32", "bf16"), (False, True)):
        resume(Grid.create(ParallelConfig(tensor_model_parallel_size=2)), precision, shard)
    one_rank_is_not_finite(Grid.create(ParallelConfig()))


def check_state_is_complete(run: Run, whole: dict[str, Tensor]) -> None:
    """The ranks' blocks cover every tensor's every element."""
    blocks = run.optimizer.slices()
    for name, tensor in whole.items():
        covered = torch.zeros(tensor.shape)
        block = blocks.get(f"optimizer.exp_avg.{name}")
        if block is not None:
            covered[tuple(slice(o, o + n) for o, n in zip(block.offset, block.tensor.shape, strict=True))] = 1
        torch.distributed.all_reduce(covered, torch.distributed.ReduceOp.MAX)
        assert covered.all(), name


def norm_counts_each_element_once(grid: Grid) -> None:
    """With every gradient 1 the squared norm is the number of elements of the model, padding included."""
    for tied, shard in itertools.product((False, True), repeat=2):
        run = Run(grid, tied=tied, shard=shard)
        for part in run.data_parallel.shards:
            part.grad_rows.fill_(1.0)
        names: dict[str, int] = {}
        for parameter in run.model.parameters():
            names |= {piece.name: torch.Size(piece.global_shape).numel() for piece in spec_of(parameter).pieces}
        square = gradient_norm(run.optimizer._counted, grid).item() ** 2
        assert square == pytest.approx(sum(names.values()), rel=1e-6)


def one_rank_is_not_finite(grid: Grid) -> None:
    """Every rank stops with the same words, though one alone holds the bad rows."""
    run = Run(grid)
    run.backward(0)
    if grid.dp.rank == grid.dp.size - 1:
        run.data_parallel.shards[0].grad_rows[0] = torch.nan
    result = run.optimizer.step(LR, SCALE)
    with pytest.raises(NonFiniteGradientError, match=rf"step 1: .* on rank {grid.dp.size - 1}\)"):
        run.optimizer.check(1, float(result.grad_norm))


@pytest.mark.parametrize("world_size", [4])
def test_every_layout_follows_torch(world_size):
    run_processes(every_layout, world_size)
