"""What the ranks tell one another, in a single process."""

from __future__ import annotations

import pytest

from steel_megatron.checkpoint.ranks import everywhere, gather, host_group, on_main, rank, world_size
from steel_megatron.config import CheckpointError, StorageError


def refuse(error: Exception):
    raise error


def test_a_single_process_is_the_whole_world() -> None:
    assert (rank(), world_size(), host_group()) == (0, 1, None)
    assert gather("x") == ["x"]
    assert everywhere(lambda: 3, "counting") == [3]
    assert on_main(lambda: None, "nothing") is None


@pytest.mark.parametrize(
    ("error", "kind", "given"),
    [
        (OSError(28, "full"), StorageError, "saving failed: rank 0: OSError"),
        (ValueError("odd"), CheckpointError, "saving failed: rank 0: ValueError: odd"),
        (StorageError("disk", "rule", "fix"), StorageError, "saving failed: disk"),
        (CheckpointError("other", "rule", "fix"), CheckpointError, "saving failed: other"),
    ],
)
def test_a_failure_names_what_was_done_and_keeps_its_advice(error, kind, given) -> None:
    with pytest.raises(CheckpointError) as caught:
        on_main(lambda: refuse(error), "saving")
    assert type(caught.value) is kind
    assert caught.value.given.startswith(given)
    assert caught.value.__cause__ is error
    if isinstance(error, CheckpointError):
        assert (caught.value.rule, caught.value.fix) == ("rule", "fix")
