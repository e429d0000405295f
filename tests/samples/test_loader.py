from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.token_arrays import numbered_windows
from steel_megatron.config import ConfigError, DataError
from steel_megatron.samples.batches import Batch, BatchReader
from steel_megatron.samples.loader import Loader
from steel_megatron.samples.mixing.phases import Phase
from steel_megatron.samples.order import Order

LENGTH = 4
SOURCES = {"a": numbered_windows(7, LENGTH), "b": numbered_windows(30, LENGTH, first_token=1000)}
PHASES = [Phase.of(0, {"a": 1, "b": 2}), Phase.of(40, {"b": 1})]
ORDER = Order(5, PHASES, {name: len(source) for name, source in SOURCES.items()})
READER = BatchReader(ORDER, SOURCES, LENGTH)


def first_token(sample: int) -> int:
    source, _, window = ORDER.at(sample)
    return window * LENGTH + (1000 if source == "b" else 0)


def samples_of(batches: Iterator[Batch]) -> list[int]:
    """The numbers of the samples, after checking that each is what the order says."""
    numbers = []
    for batch in batches:
        assert batch.tokens_BS[:, 0].tolist() == [first_token(n) for n in batch.sample_ids_B.tolist()]
        numbers += batch.sample_ids_B.tolist()
    return numbers


@settings(max_examples=40)
@given(
    dp_size=st.sampled_from([1, 2, 3, 4]),
    micro=st.integers(1, 3),
    accumulation=st.integers(1, 3),
    start=st.integers(0, 200),
    workers=st.integers(0, 3),
    prefetch=st.integers(1, 5),
)
def test_union_over_ranks_is_the_order(
    dp_size: int, micro: int, accumulation: int, start: int, workers: int, prefetch: int
) -> None:
    size = dp_size * micro * accumulation
    loaders = [
        Loader(READER, micro_batch_size=micro, dp_rank=r, dp_size=dp_size, workers=workers, prefetch=prefetch)
        for r in range(dp_size)
    ]
    for first in (start, start + size, start + 2 * size):  # a run
        shares = [samples_of(loader.global_batch(first, size)) for loader in loaders]
        assert [len(share) for share in shares] == [size // dp_size] * dp_size
        assert list(chain(*shares)) == list(range(first, first + size))
    for loader in loaders:
        loader.close()


def test_a_run_reads_no_sample_twice_and_none_in_vain() -> None:
    asked: list[int] = []

    class Counting(BatchReader):
        def read(self, first_sample: int, size: int) -> Batch:
            asked.append(first_sample)
            return super().read(first_sample, size)

    sizes = {0: 2, 2: 4, 6: 6, 12: 8}  # a ramp-up that the loader is told of
    reader = Counting(ORDER, SOURCES, LENGTH)
    with Loader(reader, micro_batch_size=2, workers=2, prefetch=3, batch_size_at=sizes.__getitem__, end=20) as loader:
        seen = [samples_of(loader.global_batch(n, size)) for n, size in sizes.items()]
    assert list(chain(*seen)) == list(range(20))
    assert sorted(asked) == list(range(0, 20, 2))


def test_a_change_of_batch_size_without_notice() -> None:
    for rank in range(2):
        with Loader(READER, micro_batch_size=1, dp_rank=rank, dp_size=2) as loader:
            for first, size in [(0, 4), (4, 4), (8, 6), (14, 2), (3, 4), (3, 4), (50, 2)]:
                half = size // 2
                expected = list(range(first + rank * half, first + (rank + 1) * half))
                assert samples_of(loader.global_batch(first, size)) == expected


def test_an_abandoned_batch_does_no_harm() -> None:
    with Loader(READER, micro_batch_size=1) as loader:
        next(loader.global_batch(0, 4))
        assert samples_of(loader.global_batch(0, 4)) == [0, 1, 2, 3]
        next(loader.global_batch(4, 4))
        assert samples_of(loader.global_batch(8, 4)) == [8, 9, 10, 11]


def test_reads_ahead_no_more_than_asked() -> None:
    class Blocked(BatchReader):
        begun = threading.Semaphore(0)
        gate = threading.Event()
        count = 0

        def read(self, first_sample: int, size: int) -> Batch:
            if first_sample > 0:
                Blocked.count += 1
                Blocked.begun.release()
                Blocked.gate.wait(60)
            return super().read(first_sample, size)

    with Loader(Blocked(ORDER, SOURCES, LENGTH), micro_batch_size=1, workers=8, prefetch=3) as loader:
        next(loader.global_batch(0, 1))
        # While the caller is busy with sample 0, samples 1, 2 and 3 are read and no more.
        for _ in range(3):
            assert Blocked.begun.acquire(timeout=60)
        assert not Blocked.begun.acquire(timeout=0.2)
        Blocked.gate.set()
    assert Blocked.count == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_reach_the_caller_with_the_sample(workers: int) -> None:
    class Broken(dict):  # type: ignore[type-arg]
        def __getitem__(self, name: str):  # type: ignore[no-untyped-def]
            raise OSError("disk on fire")

    reader = BatchReader(ORDER, SOURCES, LENGTH)
    reader.sources = Broken()
    with Loader(reader, micro_batch_size=1, workers=workers) as loader:
        for _ in range(2):  # again when asked again
            with pytest.raises(
                DataError, match=r"sample 6 \(source 'b', window \d+\) cannot be read: OSError: disk on fire"
            ):
                next(loader.global_batch(6, 2))


@pytest.mark.parametrize("size", [0, 3, 7])
def test_batch_must_divide(size: int) -> None:
    with Loader(READER, micro_batch_size=1, dp_size=2) as loader, pytest.raises(ConfigError, match="multiple of"):
        loader.global_batch(0, size)


def test_threads_end_with_the_loader() -> None:
    before = set(threading.enumerate())
    loader = Loader(READER, micro_batch_size=1, workers=3)
    next(loader.global_batch(0, 4))
    assert set(threading.enumerate()) > before
    loader.close()
    assert not set(threading.enumerate()) - before


def test_waiting_is_measured() -> None:
    class Slow(BatchReader):
        gate = threading.Event()

        def read(self, first_sample: int, size: int) -> Batch:
            Slow.gate.wait(0.2)
            return super().read(first_sample, size)

    for workers in (0, 2):
        with Loader(Slow(ORDER, SOURCES, LENGTH), micro_batch_size=1, workers=workers) as loader:
            assert loader.wait_seconds == 0.0
            next(loader.global_batch(0, 1))
            assert loader.wait_seconds >= 0.1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_a_gpu() -> None:
    with Loader(READER, micro_batch_size=2, device="cuda") as loader:
        batches = list(loader.global_batch(0, 4))
    assert all(batch.tokens_BS.is_cuda and batch.sample_ids_B.is_cuda for batch in batches)
    assert samples_of(batch.to(torch.device("cpu")) for batch in batches) == [0, 1, 2, 3]
