"""What operations declare, what all have declared, and what each flag asks for."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from steel_megatron.config.knob import knobs_of
from steel_megatron.config.training import TrainingConfig
from steel_megatron.ops import operations
from steel_megatron.ops.available import BACKENDS
from steel_megatron.ops.operations import FLAGS, IN_TORCH, NOT_DETERMINISTIC, OPERATIONS, OURS

BACKENDS_OF_FLAGS = {flag: {name for names in values.values() for name in names} for flag, values in FLAGS.items()}
LOADED_LATE = """
import sys
from steel_megatron.ops.operations import OPERATIONS, _declared
assert not _declared, "declared with nothing loaded"
assert OPERATIONS["rope"].name == "RoPE"
seen = set(_declared)
assert seen == set(OPERATIONS) and len(OPERATIONS) == len(seen)
print(*sorted(seen))
"""


def test_whoever_asks_for_one_has_them_all_loaded() -> None:
    """In a new process that has imported no operation: the answer does not depend on what was imported before."""
    done = subprocess.run([sys.executable, "-c", LOADED_LATE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(OPERATIONS)


def test_what_none_has_declared_is_not_there() -> None:
    assert "softmax" not in OPERATIONS
    with pytest.raises(KeyError, match="softmax"):
        OPERATIONS["softmax"]


def test_an_operation_is_known_once_it_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_declared", dict(operations._declared))
    made = operations.Operation("soft cap", ("torch",), {})
    operations.declare("soft_cap", made)
    assert OPERATIONS["soft_cap"] is made


@pytest.mark.parametrize("flag", list(FLAGS))
def test_a_flag_takes_what_the_policy_knows(flag: str) -> None:
    knob = next(knob for knob in knobs_of("training", TrainingConfig) if knob.flag == flag)
    assert tuple(knob.choices) == tuple(FLAGS[flag])


def test_every_name_in_the_tables_is_a_backend() -> None:
    named = {name for known in OPERATIONS.values() for name in known.backends}
    assert named <= BACKENDS.keys()
    assert {*NOT_DETERMINISTIC, *OURS} <= named
    for known in OPERATIONS.values():
        assert BACKENDS_OF_FLAGS[known.flag] & set(known.backends)
        assert all(set(order) <= set(known.backends) for order in known.auto.values())
    for flag, names in BACKENDS_OF_FLAGS.items():
        assert names <= {name for known in OPERATIONS.values() if known.flag == flag for name in known.backends}
    assert IN_TORCH.keys() <= FLAGS["--attention-backend"].keys()


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_the_last_takes_everything_everywhere(operation: str) -> None:
    last = BACKENDS[OPERATIONS[operation].backends[-1]]
    assert last.missing("cpu") is last.missing("cuda") is None
    heads = torch.ones(1, 2, 3, 5, dtype=torch.float64)  # a type and a size that no kernel knows
    assert last.fits(heads, heads, heads)
