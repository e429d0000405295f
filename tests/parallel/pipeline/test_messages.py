"""The mailbox of an axis of one rank, and batches of nothing."""

from __future__ import annotations

import torch

from steel_megatron.parallel.grid import Axis
from steel_megatron.parallel.pipeline.messages import Batch, Mailbox


class Work:
    waits = 0

    def wait(self) -> None:
        self.waits += 1


def test_a_batch_is_waited_for_once_and_frees_its_tensors() -> None:
    work = Work()
    batch = Batch([work], lambda: None, [torch.zeros(1)])  # type: ignore[list-item]  # of dist it needs wait alone
    batch.wait()
    batch.wait()
    assert work.waits == 1
    assert batch._sent is None


def test_one_rank_needs_no_group_and_waits_for_nothing() -> None:
    mailbox = Mailbox(Axis("pp"), torch.device("cpu"))
    mailbox.wait(Batch([], lambda: None))
    mailbox.wait_all()
