"""Batch-size ramp-up against a step-by-step simulation."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import OptimizerConfig, TrainingConfig
from steel_megatron.optim.batch_size import BatchSize, Level, Reached, past_levels
from steel_megatron.optim.schedule import LearningRate


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


class Walk:
    """A run of --train-samples that is stopped and started anew with another batch: what it does, step by step."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.facts: dict[str, Any] = {"state": {"step": 0, "consumed_samples": 0, "consumed_tokens": 0}}
        self.reached = [(0, 0, 0)]  # steps, samples and tokens before each step

    def go(self, full: int, ramp: list[int] | None, seq_length: int, stop_after: int) -> BatchSize:
        training = TrainingConfig(
            global_batch_size=full, rampup_batch_size=ramp, seq_length=seq_length, train_samples=self.samples
        )
        sizes = BatchSize(training, *past_levels(self.facts))
        for _ in range(stop_after):
            step, samples, tokens = self.reached[-1]
            if step >= sizes.total_steps:
                break
            batch = sizes.global_batch_at(samples)
            self.reached.append((step + 1, samples + batch, tokens + batch * seq_length))
        step, samples, tokens = self.reached[-1]
        self.facts = {
            "state": {"step": step, "consumed_samples": samples, "consumed_tokens": tokens},
            "batches": sizes.record(step),
        }
        return sizes


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, list[int] | None, int, int]:
    start, increment, increments = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(0, 5))
    full = start + increments * increment
    ramp = draw(st.none() | st.integers(0, 400).map(lambda samples: [start, increment, samples]))
    return full, ramp, draw(st.sampled_from((16, 32, 48))), draw(st.integers(0, 40))


@given(st.integers(0, 600), st.lists(batches(), max_size=4), batches())
def test_after_any_changes_the_run_ends_with_its_samples_and_knows_its_past(samples, changes, last):
    walk = Walk(samples)
    for change in changes:
        walk.go(*change)
    sizes = walk.go(*last[:3], 10_000)
    step, consumed, tokens = walk.reached[-1]
    assert consumed <= samples < consumed + sizes.global_batch_at(consumed)
    assert (sizes.total_steps, sizes.total_samples, sizes.total_tokens) == (step, consumed, tokens)
    for step, consumed, tokens in walk.reached:
        assert sizes.samples_at(step) == consumed
        assert sizes.step_at(consumed) == step
        assert sizes.tokens_at(consumed) == tokens
        assert sizes.samples_of(tokens) == consumed


@given(st.integers(50, 600), st.lists(batches(), min_size=1, max_size=4), st.sampled_from(("samples", "tokens")))
def test_schedules_in_samples_and_tokens_follow(samples, changes, unit):
    """The rate at a sample is that of a run that never changed its batch: here, of batches of one."""
    lengths = {"lr_warmup_samples": 20, "lr_decay_samples": samples}
    if unit == "tokens":
        changes = [(full, ramp, 16, steps) for full, ramp, _, steps in changes]
        lengths = {name.replace("samples", "tokens"): 16 * length for name, length in lengths.items()}
    optimizer = OptimizerConfig(lr=1.0, min_lr=0.1, lr_decay_style="linear", **lengths)
    single = TrainingConfig(global_batch_size=1, seq_length=16, train_samples=samples)
    expected = LearningRate(optimizer, single)
    walk = Walk(samples)
    for full, ramp, seq_length, steps in changes:
        before = len(walk.reached)
        sizes = walk.go(full, ramp, seq_length, steps)
        training = TrainingConfig(
            global_batch_size=full, rampup_batch_size=ramp, seq_length=seq_length, train_samples=samples
        )
        schedule = LearningRate(optimizer, training, sizes)
        for (step, consumed, tokens), (_, end, _) in itertools.pairwise(walk.reached[before - 1 :]):
            found = schedule.at(step, consumed, tokens)
            assert found == pytest.approx(expected.at(end - 1, end - 1, 16 * (end - 1)))


def test_lengths_in_steps_are_counted_in_the_batches_that_were():
    """A warm-up of 10 steps of 8, then 16: the decay in samples begins at its end, 80, and not at 160."""
    first = TrainingConfig(global_batch_size=8, seq_length=16, train_samples=400)
    past = BatchSize(first).record(20)
    training = TrainingConfig(global_batch_size=16, seq_length=16, train_samples=400)
    sizes = BatchSize(training, Reached(20, 160, 2560), [Level(*entry) for entry in past])
    schedule = LearningRate(OptimizerConfig(lr_warmup_iters=10, lr_decay_samples=400), training, sizes)
    assert schedule.decay_start == 80
    assert (sizes.total_steps, sizes.total_samples) == (35, 400)


def test_checkpoints_of_before_have_had_one_configuration_or_one_batch_size():
    facts = {
        "state": {"step": 9, "consumed_samples": 144, "consumed_tokens": 2304},
        "config": {
            "training": {
                "global_batch_size": 32,
                "rampup_batch_size": [8, 8, 96],
                "train_samples": 200,
                "seq_length": 16,
                "a_knob_that_is_gone": 1,
            }
        },
    }
    reached, past = past_levels(facts)
    assert (reached, [level.batch for level in past]) == ((9, 144, 2304), [8, 16, 24, 32])
    facts["state"]["consumed_samples"] = 90
    assert past_levels(facts)[1] == [Level(0, 0, 0, 10, 16)]
    assert past_levels({"state": {"step": 0, "consumed_samples": 0, "consumed_tokens": 0}}) == ((0, 0, 0), [])
