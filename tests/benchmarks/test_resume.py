"""What the check of repeating and continuing tells of two runs."""

from __future__ import annotations

import pytest
import resume
import torch


def test_runs_that_are_equal_have_no_differences() -> None:
    numbers = {"loss": torch.tensor([1.0, 2.0]), "weight.a": torch.arange(3).bfloat16()}
    assert resume.differences(numbers, {name: tensor.clone() for name, tensor in numbers.items()}) == {}


def test_one_bit_is_seen_and_told_by_kind() -> None:
    first = {"loss": torch.tensor([1.0]), "weight.a": torch.ones(3), "weight.b": torch.ones(2)}
    second = {"loss": torch.tensor([1.0]), "weight.a": torch.ones(3), "weight.b": torch.tensor([1.0, 1.0 + 2**-23])}
    assert resume.differences(first, second) == {"weight": 2**-23}


def test_a_missing_step_or_tensor_is_not_taken_for_agreement() -> None:
    assert resume.differences({"loss": torch.ones(2)}, {"loss": torch.ones(1)}) == {"loss": float("inf")}
    with pytest.raises(RuntimeError, match="only in one of them"):
        resume.differences({"loss": torch.ones(1)}, {})


def test_processes_on_one_card_are_told_apart_as_machines() -> None:
    first, second = resume.environments(2, "cuda")
    assert first["NCCL_HOSTID"] != second["NCCL_HOSTID"]
    assert [first["RANK"], second["RANK"]] == ["0", "1"]
    assert first["LOCAL_RANK"] == second["LOCAL_RANK"] == "0"
