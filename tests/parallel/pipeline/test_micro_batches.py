"""Micro-batches are read when first needed and let go after their last use."""

from __future__ import annotations

import gc
import weakref

import pytest

from steel_megatron.parallel.pipeline.micro_batches import MicroBatches


class Item:
    pass


def test_read_late_and_dropped_after_the_last_use():
    alive = []

    def source():
        for _ in range(3):
            item = Item()
            alive.append(weakref.ref(item))
            yield item
            del item

    batches = MicroBatches(source(), 3, uses=2)
    assert not alive
    first = batches.take(0)
    assert len(alive) == 1
    assert batches.take(0) is first
    batches.take(2)  # reads 1 as well, which is kept for later
    assert len(alive) == 3
    del first
    gc.collect()
    assert [ref() is None for ref in alive] == [True, False, False]


def test_too_few_and_too_many_are_told():
    with pytest.raises(ValueError, match="1 micro-batches for a schedule of 2"):
        MicroBatches("a", 2, uses=1).take(1)
    batches = MicroBatches("abc", 2, uses=1)
    assert (batches.take(0), batches.take(1)) == ("a", "b")
    with pytest.raises(ValueError, match="more micro-batches than the 2"):
        batches.finish()
