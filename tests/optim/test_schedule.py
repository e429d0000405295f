"""Learning-rate schedules against values worked out by hand, and what holds for all of them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from steel_megatron.config import ConfigError, OptimizerConfig, TrainingConfig
from steel_megatron.optim.batch_size import BatchSize
from steel_megatron.optim.schedule import LearningRate

SEQ = 16


def rates(steps: int, batch: int = 4, ramp: tuple[int, ...] | None = None, **knobs: Any) -> list[float]:
    """The rate of every step of a run of so many steps (of samples, with a ramp)."""
    length = {"train_iters" if ramp is None else "train_samples": steps}
    training = TrainingConfig(seq_length=SEQ, global_batch_size=batch, rampup_batch_size=ramp, **length)
    knobs = {"lr": 1.0, "min_lr": 0.1, **knobs}
    schedule, size = LearningRate(OptimizerConfig(**knobs), training), BatchSize(training)
    found, samples = [], 0
    for step in range(size.total_steps):
        found.append(schedule.at(step, samples, samples * SEQ))
        samples += size.global_batch_at(samples)
    return found


def test_the_first_warm_up_step_is_not_zero_and_the_last_is_the_peak():
    found = rates(10, lr_decay_style="constant", lr_warmup_iters=4)
    assert found == pytest.approx([0.25, 0.5, 0.75] + [1.0] * 7)
    assert rates(3, lr_decay_style="constant", lr_warmup_iters=2, lr_warmup_init=0.5)[:2] == pytest.approx([0.75, 1.0])


def test_linear():
    assert rates(6, lr_decay_style="linear", lr_warmup_iters=2) == pytest.approx([0.5, 1.0, 0.775, 0.55, 0.325, 0.1])


def test_cosine():
    found = rates(4, lr_decay_style="cosine")
    assert found == pytest.approx([0.1 + 0.9 * (1 + math.cos(math.pi * t / 4)) / 2 for t in (1, 2, 3, 4)])
    assert found[-1] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("shape", "tail"),
    [
        ("linear", [0.775, 0.55, 0.325, 0.1]),
        ("cosine", [0.1 + 0.45 * (1 + math.cos(math.pi * t / 4)) for t in (1, 2, 3, 4)]),
        ("1-sqrt", [0.55, 0.1 + 0.9 * (1 - math.sqrt(0.5)), 0.1 + 0.9 * (1 - math.sqrt(0.75)), 0.1]),
    ],
)
def test_wsd(shape, tail):
    found = rates(10, lr_decay_style="WSD", lr_warmup_iters=2, lr_wsd_decay_iters=4, lr_wsd_decay_style=shape)
    assert found == pytest.approx([0.5, *[1.0] * 5, *tail])


def test_wsd_decays_over_a_tenth_unless_told():
    found = rates(40, lr_decay_style="WSD")
    assert found[:36] == [1.0] * 36
    assert found[36] < 1.0


def test_inverse_square_root():
    found = rates(16, lr_decay_style="inverse-square-root", lr_warmup_iters=4, min_lr=0.55)
    assert found[3] == pytest.approx(1.0)
    assert found[7] == pytest.approx(math.sqrt(4 / 8))
    assert found[15] == 0.55
    assert rates(4, lr_decay_style="inverse-square-root")[:2] == pytest.approx([1.0, math.sqrt(0.5)])


@pytest.mark.parametrize("style", ["constant", "linear", "cosine", "WSD", "inverse-square-root"])
def test_units_agree(style):
    """The same lengths in steps, samples, tokens or as a share give the same rates."""
    steps, batch = 20, 4
    expected = rates(steps, batch, lr_decay_style=style, lr_warmup_iters=5, lr_decay_iters=15)
    for warmup, decay in [
        ({"lr_warmup_samples": 5 * batch}, {"lr_decay_samples": 15 * batch}),
        ({"lr_warmup_tokens": 5 * batch * SEQ}, {"lr_decay_tokens": 15 * batch * SEQ}),
        ({"lr_warmup_fraction": 1 / 3}, {"lr_decay_iters": 15}),
        ({"lr_warmup_iters": 0, "lr_warmup_samples": 5 * batch}, {"lr_decay_iters": 15}),
        ({"lr_warmup_iters": 5}, {"lr_decay_tokens": 15 * batch * SEQ}),
        ({"lr_warmup_tokens": 5 * batch * SEQ}, {"lr_decay_iters": 15}),
        ({"lr_warmup_samples": 5 * batch}, {"lr_decay_tokens": 15 * batch * SEQ}),
    ]:
        assert rates(steps, batch, lr_decay_style=style, **warmup, **decay) == pytest.approx(expected), (warmup, decay)


def test_after_the_decay_the_rate_stays():
    assert rates(10, lr_decay_style="linear", lr_decay_iters=5)[4:] == pytest.approx([0.1] * 6)


def test_a_ramp_up_decays_by_samples():
    found = rates(64, batch=16, ramp=(8, 8, 16), lr_decay_style="linear", min_lr=0.0)
    assert found == pytest.approx([1 - x / 64 for x in (8, 16, 32, 48, 64)])


@given(
    st.sampled_from(["constant", "linear", "cosine", "WSD", "inverse-square-root"]),
    st.sampled_from(["linear", "cosine", "1-sqrt"]),
    st.integers(2, 200),
    st.data(),
)
def test_bounds_continuity_and_monotony(style, wsd, steps, data):
    warmup = data.draw(st.integers(0, steps - 1))
    wsd_iters = data.draw(st.integers(1, steps))
    assume(warmup + wsd_iters <= steps)
    found = rates(
        steps, lr_decay_style=style, lr_wsd_decay_style=wsd, lr_warmup_iters=warmup, lr_wsd_decay_iters=wsd_iters
    )
    assert all(0.0 < rate <= 1.0 for rate in found)
    after = found[max(warmup - 1, 0) :]
    assert after == sorted(after, reverse=True)
    assert all(rate >= 0.1 - 1e-12 for rate in after)
    if warmup:
        assert found[:warmup] == sorted(found[:warmup])
        assert found[warmup - 1] == pytest.approx(1.0)
        assert found[0] == pytest.approx(1.0 / warmup)
    if style in ("linear", "cosine", "WSD"):
        assert found[-1] == pytest.approx(0.1)
    # No step falls by more than the steepest part of its curve allows.
    span = (wsd_iters if style == "WSD" else steps - warmup) or 1
    steepest = {"linear": 1 / span, "cosine": math.pi / 2 / span, "1-sqrt": math.sqrt(1 / span)}
    shape = wsd if style == "WSD" else style
    if shape in steepest:
        assert all(a - b <= 0.9 * steepest[shape] + 1e-9 for a, b in itertools.pairwise(after))


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="a warm-up of 10 iters in a schedule that ends after 10 iters"):
        rates(10, lr_decay_style="cosine", lr_warmup_iters=10)
    with pytest.raises(ConfigError, match="a WSD decay of 8 iters after a warm-up of 3"):
        rates(10, lr_decay_style="WSD", lr_warmup_iters=3, lr_wsd_decay_iters=8)


def test_a_schedule_from_outside():
    given = "helpers.outside:cycle {period: 4}"
    found = rates(10, lr_decay_style=given, lr_warmup_iters=2)
    cosines = [0.1 + 0.9 * (1 + math.cos(math.pi * (step % 4) / 4)) / 2 for step in range(1, 11)]
    assert found == pytest.approx([0.5, cosines[1], *cosines[2:]])
    assert rates(10, lr_decay_style=given, lr_decay_samples=40) == pytest.approx(cosines)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("helpers.outside:cycle {perod: 4}", "did you mean period"),
        ("helpers.outside:cycle {floor: -5}", "gives -4"),
        ("helpers.outside:upset", "ZeroDivisionError.* at step 10"),
        ("helpers.outside:mish", "fails: "),
        ("cosin", "did you mean cosine"),
        ("cosine {period: 4}", "no parameters|takes at"),
    ],
)
def test_a_schedule_that_fails_is_refused_before_the_run(given, said):
    with pytest.raises(ConfigError, match=said):
        rates(10, lr_decay_style=given)
