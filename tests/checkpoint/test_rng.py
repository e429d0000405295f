"""Random states come back, and reading them runs no code."""

from __future__ import annotations

import pickle
import random
from typing import Any

import numpy as np
import pytest
import torch

from steel_megatron.checkpoint.rng import capture_random_state, restore_random_state


def draws() -> list[Any]:
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.standard_normal(3).tolist(),
        torch.rand(3).tolist(),
    ]


@pytest.mark.parametrize("drawn_before", [0, 1, 700])
def test_the_same_numbers_follow_a_restored_state(drawn_before: int) -> None:
    for _ in range(drawn_before):  # an odd number of normal draws leaves one in numpy's hands
        draws()
    saved = capture_random_state()
    expected = [draws(), draws()]
    for _ in range(5):
        draws()
    restore_random_state(saved)
    assert [draws(), draws()] == expected


def test_capturing_draws_nothing() -> None:
    random.seed(1)
    torch.manual_seed(1)
    np.random.seed(1)
    expected = draws()
    random.seed(1)
    torch.manual_seed(1)
    np.random.seed(1)
    capture_random_state()
    assert draws() == expected


def test_a_state_that_would_run_code_is_refused() -> None:
    with pytest.raises(pickle.UnpicklingError):
        restore_random_state(pickle.dumps(print, protocol=2))
