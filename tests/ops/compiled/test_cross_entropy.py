"""Compiled cross entropy: the numbers of the reference, and no fp32 copy of the logits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from helpers.compiled_ops import H, check, check_fakes, dtypes, tensors
from steel_megatron.ops.compiled import cross_entropy
from steel_megatron.ops.cross_entropy import token_losses


@dtypes
@pytest.mark.parametrize("columns", [(0, 13), (0, 11), (5, 8), (40, 13), (3, 0)])
@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
def test_cross_entropy(as_written, dtype, columns, z_loss):
    logits = tensors(dtype, (6, 13))
    labels = torch.tensor([0, 3, 5, 7, 10, 11])
    join = (lambda own: (own[0].clamp_min(-5.0), own[1])) if columns[1] == 0 else None
    check("cross_entropy", lambda x: token_losses(x * 1, labels, columns, z_loss=z_loss, join=join), logits)


def test_numbers_that_are_none_stay_none(as_written):
    logits = torch.zeros(3, 5)
    logits[0, 1], logits[1] = float("nan"), float("-inf")
    partition, target = cross_entropy.cross_entropy_statistics(logits, torch.tensor([0, 0, 0]), 0, 5)
    assert partition[0].isnan()
    assert partition[1] == -torch.inf
    assert partition[2].isfinite()
    assert target[2] == 0


@pytest.mark.parametrize("padding", [float("nan"), float("inf"), 1e30])
def test_what_lies_in_the_padding_counts_for_nothing(as_written, padding):
    """Columns from ``real`` on: not in the sum, no label, and of gradient 0."""
    (logits,) = tensors(torch.float32, (3, 8))
    logits[:, 6:] = padding
    labels, one = torch.tensor([5, 6, 7]) + 40, torch.ones(3)
    partition, target = cross_entropy.cross_entropy_statistics(logits, labels, 40, 6)
    torch.testing.assert_close(partition, logits[:, :6].logsumexp(1))
    assert target.tolist() == [float(logits[0, 5]), 0.0, 0.0]
    expected = logits[:, :6].softmax(1)
    expected[0, 5] -= 1
    cross_entropy.cross_entropy_gradient_(logits, labels, partition, one, one, 40, 6)
    torch.testing.assert_close(logits[:, :6], expected)
    assert not logits[:, 6:].any()


def test_a_rank_of_nothing_but_padding_adds_nothing(as_written):
    logits = torch.full((2, 4), float("nan"))
    labels, one = torch.tensor([0, 12]), torch.ones(2)
    partition, target = cross_entropy.cross_entropy_statistics(logits, labels, 12, 0)
    assert partition.tolist() == [-torch.inf] * 2
    assert target.tolist() == [0.0, 0.0]
    cross_entropy.cross_entropy_gradient_(logits, labels, torch.zeros(2), one, one, 12, 0)
    assert not logits.any()


def test_fakes_say_what_comes_out(as_written):
    (x,) = tensors(torch.bfloat16, (3, H))
    labels, one = torch.tensor([1, 2, 3]), torch.ones(3)
    check_fakes(
        (cross_entropy.cross_entropy_statistics, (x, labels, 0, H)),
        (cross_entropy.cross_entropy_statistics, (x, labels, 0, 0)),
        (cross_entropy.cross_entropy_gradient_, (x, labels, one, one, one, 0, H)),
    )


def most_allocated(function: Callable[[], object]) -> int:
    """Bytes that torch's CPU allocator handed out at once beyond what was there."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        function()
    now = most = 0
    for event in sorted(recorded.events(), key=lambda event: event.time_range.start):
        if event.name == "[memory]":
            now += event.cpu_memory_usage
            most = max(most, now)
    return most


def test_compiled_it_makes_no_copy_of_the_logits():
    logits, labels = torch.randn(512, 4096).bfloat16(), torch.arange(512)
    expected = logits.float().logsumexp(1)
    scale = torch.ones(512)
    gradient = logits.clone()
    cross_entropy.cross_entropy_statistics(logits, labels, 0, 4000)  # compiles
    cross_entropy.cross_entropy_gradient_(gradient.clone(), labels, expected, scale, scale, 0, 4000)
    kept: list[torch.Tensor] = []
    assert (
        most_allocated(lambda: kept.extend(cross_entropy.cross_entropy_statistics(logits, labels, 0, 4096))) < 100_000
    )
    assert (
        most_allocated(lambda: cross_entropy.cross_entropy_gradient_(gradient, labels, expected, scale, scale, 0, 4096))
        < 100_000
    )
    torch.testing.assert_close(kept[0], expected, atol=1e-3, rtol=1e-4)
    exact = torch.softmax(logits.float(), 1) - torch.nn.functional.one_hot(labels, 4096)
    assert (gradient.float() - exact).norm() < 0.01 * exact.norm()
