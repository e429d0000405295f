"""Batch-size ramp-up against a step-by-step simulation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import TrainingConfig
from steel_megatron.optim.batch_size import BatchSize


def batch_size(
    full: int, ramp: list[int] | None = None, iters: int | None = None, samples: int | None = None
) -> BatchSize:
    return BatchSize(
        TrainingConfig(global_batch_size=full, rampup_batch_size=ramp, train_iters=iters, train_samples=samples)
    )


def test_a_ramp_written_out():
    size = batch_size(32, [8, 8, 96], samples=200)
    # Increments at 32, 64 and 96 consumed samples.
    assert [size.global_batch_at(n) for n in (0, 31, 32, 63, 64, 95, 96, 10**9)] == [8, 8, 16, 16, 24, 24, 32, 32]
    assert [size.samples_at(step) for step in range(10)] == [0, 8, 16, 24, 32, 48, 64, 88, 112, 144]
    assert (size.total_steps, size.total_samples) == (10, 176)


def test_without_a_ramp():
    size = batch_size(12, iters=5)
    assert (size.global_batch_at(0), size.samples_at(3), size.step_at(37)) == (12, 36, 3)
    assert (size.total_steps, size.total_samples) == (5, 60)
    assert batch_size(12, samples=59).total_steps == 4


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 12), st.integers(0, 3000), st.integers(1, 5000))
def test_steps_and_samples_agree_with_a_simulation(start, increment, increments, ramp_samples, train_samples):
    full = start + increments * increment
    size = batch_size(full, [start, increment, ramp_samples], samples=train_samples)
    consumed, batches = 0, []
    for step in range(200):
        assert size.samples_at(step) == consumed
        assert size.step_at(consumed) == step
        batch = size.global_batch_at(consumed)
        assert size.step_at(consumed + batch - 1) == step
        batches.append(batch)
        consumed += batch
    assert batches == sorted(batches)
    assert set(batches) <= set(range(start, full + 1, increment))
    assert size.global_batch_at(ramp_samples) == full
    assert size.total_samples <= train_samples < size.total_samples + size.global_batch_at(size.total_samples)
    assert len(size.levels) <= increments + 1


def test_a_trillion_tokens_cost_nothing():
    size = batch_size(512, [64, 64, 10**7], samples=500_000_000)
    assert size.samples_at(size.step_at(400_000_000)) <= 400_000_000
