"""A global batch through this rank's chunks: the same sums and gradients however it is cut, and what evaluation is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.built_run import built, gradients
from helpers.processes import run_processes
from helpers.tiny_run import write_tokens
from steel_megatron.parallel.grid import Grid
from steel_megatron.samples.batches import Batch
from steel_megatron.training.engine import Engine, GPTStage
from steel_megatron.training.startup.setup import Components
from steel_megatron.training.step_sums import DeviceSums

GRADIENT = 1.0 / 128  # one over the tokens of a global batch
DROPOUT = {"hidden_dropout": 0.3, "attention_dropout": 0.3}


def step(components: Components, gradient: float = GRADIENT, samples: int = 8) -> tuple[DeviceSums, dict[str, Tensor]]:
    """The sums of a global batch, and its gradients."""
    components.data_parallel.zero_grads()
    batches = components.train_data.global_batch(0, samples)
    sums = components.engine.train(batches, components.micro_batches(samples), gradient, sources=1)
    components.data_parallel.finish_grads()
    return sums, gradients(components)


def test_a_global_batch_is_the_same_in_any_micro_batches(tmp_path: Path) -> None:
    """Dropout goes by the samples' numbers, and documents stay apart."""
    apart = {"reset_attention_mask": True, "reset_position_ids": True, "z_loss_coeff": 0.1}
    found = []
    for size in (1, 2, 8):
        with built(tmp_path, micro_batch_size=size, **DROPOUT, **apart) as (_, components):
            found.append(step(components))
    for sums, grads in found[1:]:
        torch.testing.assert_close(sums.packed(), found[0][0].packed(), rtol=1e-6, atol=0)
        for name, grad in grads.items():
            torch.testing.assert_close(grad, found[0][1][name], rtol=1e-4, atol=1e-7, msg=name)


def test_the_loss_is_what_its_gradient_starts_from_without_the_z_loss(tmp_path: Path) -> None:
    with built(tmp_path) as (_, components):
        plain, grads = step(components)
        _, doubled = step(components, 2 * GRADIENT)
    with built(tmp_path, z_loss_coeff=0.1) as (_, components):
        with_z, other = step(components)
    assert all(torch.equal(doubled[name], 2 * grad) for name, grad in grads.items())
    assert plain.loss_tokens == 128
    assert plain.source_loss.tolist() == pytest.approx([float(plain.loss)])
    assert plain.z_loss == 0
    assert with_z.z_loss > 0
    assert float(with_z.loss) == pytest.approx(float(plain.loss), rel=1e-6)
    assert not torch.allclose(other["embedding.weight"], grads["embedding.weight"])


def test_evaluation_is_training_without_backward_dropout_and_z_loss(tmp_path: Path) -> None:
    with built(tmp_path) as (_, components):
        trained, _ = step(components)
    with built(tmp_path, z_loss_coeff=0.1, **DROPOUT) as (_, components):
        components.data_parallel.zero_grads()
        sums = components.engine.evaluate(components.train_data.global_batch(0, 8), 4, sources=1)
        components.data_parallel.finish_grads()
        assert not any(grad.any() for grad in gradients(components).values())
        assert all(chunk.training for chunk in components.chunks)
    torch.testing.assert_close(sums.packed(), trained.packed(), rtol=1e-6, atol=0)


def test_a_validation_that_fails_leaves_a_model_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: GPTStage, *_: Any) -> None:
        assert not self.model.training
        raise OSError("gone")

    with built(tmp_path) as (_, components):
        with monkeypatch.context() as patch:
            patch.setattr(GPTStage, "forward", fail)
            with pytest.raises(OSError, match="gone"):
                components.engine.evaluate(components.train_data.global_batch(0, 8), 4)
        assert all(module.training for chunk in components.chunks for module in chunk.modules())


def masked(batches: Iterator[Batch], keep: bool) -> Iterator[Batch]:
    for batch in batches:
        yield batch if keep else dataclasses.replace(batch, loss_mask_BS=torch.zeros_like(batch.loss_mask_BS))


def test_tokens_that_do_not_count_cost_nothing(tmp_path: Path) -> None:
    with built(tmp_path, z_loss_coeff=0.1) as (_, components):
        components.data_parallel.zero_grads()
        nothing = components.engine.train(masked(components.train_data.global_batch(0, 8), False), 4, GRADIENT, 1)
        components.data_parallel.finish_grads()
        assert not nothing.packed().any()
        assert not any(grad.any() for grad in gradients(components).values())


@pytest.mark.parametrize("count", [3, 5])
def test_as_many_micro_batches_as_were_said(tmp_path: Path, count: int) -> None:
    with built(tmp_path) as (_, components), pytest.raises(ValueError, match="micro-batches"):
        components.engine.train(components.train_data.global_batch(0, 8), count, GRADIENT)


def test_sources_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    write_tokens(tmp_path / "a", seed=1)
    write_tokens(tmp_path / "b", seed=2)
    with built(tmp_path, data_path=["0.5", str(tmp_path / "a"), "0.5", str(tmp_path / "b")]) as (_, components):
        samples = [source for batch in components.train_data.global_batch(0, 8) for source in batch.source_ids_B]
        batches = components.train_data.global_batch(0, 8)
        sums = components.engine.train(batches, 4, GRADIENT, sources=2)
        components.data_parallel.finish_grads()
    assert sums.source_loss_tokens.tolist() == [16.0 * samples.count(0), 16.0 * samples.count(1)]
    assert float(sums.source_loss.sum()) == pytest.approx(float(sums.loss))


def on_a_rank(folder: Path, knobs: dict[str, Any]) -> tuple[str, tuple[int, ...], list[float], list[float]]:
    """Schedule, shape that crosses between stages, this rank's sums, and the sums over all ranks."""
    from steel_megatron.config import load_run_config

    grid = Grid.create(load_run_config(None, knobs).parallel)
    with built(folder, grid, num_layers=4, **knobs) as (_, components):
        sums, _ = step(components)
        every = sums.reduced(grid).packed().tolist()
        return components.engine.schedule, components.engine.hidden.shape, sums.packed().tolist(), every


@pytest.mark.parametrize(
    ("knobs", "schedule", "length"),
    [
        ({"pipeline_model_parallel_size": 2}, "1f1b", 16),
        (
            {"pipeline_model_parallel_size": 2, "num_layers_per_virtual_pipeline_stage": 1},
            "interleaved",
            16,
        ),
        ({"tensor_model_parallel_size": 2, "sequence_parallel": True}, "1f1b", 8),
    ],
    ids=["stages", "chunks", "sequence parallel"],
)
def test_layouts(tmp_path: Path, knobs: dict[str, Any], schedule: str, length: int) -> None:
    with built(tmp_path, num_layers=4) as (_, components):
        whole = step(components)[0].packed().tolist()
    found = run_processes(on_a_rank, 2, tmp_path, knobs)
    for name, shape, own, every in found:
        assert (name, shape) == (schedule, (2, length, 32))
        assert every == pytest.approx(whole, rel=1e-5)
        assert own == pytest.approx(whole, rel=1e-5) or "pipeline_model_parallel_size" in knobs
    if "pipeline_model_parallel_size" in knobs:
        assert not any(found[0][2])
        assert found[1][2] == pytest.approx(whole, rel=1e-5)


def test_one_stage_needs_no_schedule_of_many(tmp_path: Path) -> None:
    with built(tmp_path) as (config, components):
        parallel = dataclasses.replace(config.parallel, pipeline_schedule="zb1p")
        parts = (components.chunks, components.data_parallel, components.grid, config.training)
        assert Engine(*parts, parallel).schedule == "1f1b"
