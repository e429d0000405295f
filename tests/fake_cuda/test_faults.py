"""Planted faults, each of which the fake CUDA device has to catch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest

from helpers.fake_cuda_process import ROOT, needs_fake_cuda, run_python

pytestmark = needs_fake_cuda

FOUND = {
    "item": "waits for the device: item in cross entropy",
    "synchronize": "waits for the device: torch.cuda.synchronize",
    "copy to the host": "waits for the device: aten._to_copy.default between host and device",
    "copy from pageable memory": "waits for the device: aten._to_copy.default between host and device",
    "tensor on the host": "two devices, cuda:0 and cpu",
    "mask read": "DynamicOutputShapeException: aten.nonzero",
    "mask written": "waits for the device: aten.index_put_",
    "types of a matmul": "addmm_.default of torch.bfloat16 by torch.float32: both have one type",
    "reduce-scatter of a wrong size": r"reduce-scatter of \d+ float32 among \(0, 1\): 2 parts of",
    "collectives in another order": r"rank 0 makes all-gather of \d+ bfloat16 .*, rank 1 all-gather of",
    "a collective left out": "rank 0 makes all-gather of .*, rank 1 (reduce-scatter|all-reduce) of",
    "a send left out": "the ranks wait for one another|rank 0 makes",
    "a message of another type": "send of 8192 float32 to 1 .* receive of 8192 bfloat16 from 0",
}


@pytest.fixture(scope="module")
def found() -> Mapping[str, list[str]]:
    """What was found with each fault planted."""
    printed = run_python(str(ROOT / "tests/helpers/fake_cuda_faults.py")).stdout
    errors: Mapping[str, list[str]] = json.loads(printed.splitlines()[-1])
    return errors


@pytest.mark.parametrize("fault", FOUND)
def test_a_planted_fault_is_found(found: Mapping[str, list[str]], fault: str) -> None:
    assert re.search(FOUND[fault], "\n".join(found[fault]))


def test_without_a_fault_nothing_is_found(found: Mapping[str, list[str]]) -> None:
    assert found["nothing"] == []
    assert set(found) == {"nothing", *FOUND}
