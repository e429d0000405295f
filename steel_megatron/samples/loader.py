"""The loader: this rank's share of each global batch, read ahead by background threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from steel_megatron.config import check_batch
from steel_megatron.samples.batches import Batch, BatchReader


class Loader:
    """Micro-batches of any range of the run's samples, in order.

    Of the samples [n, n + B) of a global batch, data-parallel rank r has the r-th of ``dp_size`` equal, contiguous
    parts, so the global batch is the same for every number of ranks and every micro-batch size. Ranks that share a
    data-parallel rank read the same samples.

    The threads read ahead along the run: ``prefetch`` micro-batches are under way or ready at any time. A jump to
    another sample is allowed at any time and only costs what was read ahead in vain.

    Args:
        reader: makes the batches.
        micro_batch_size: samples of a micro-batch.
        dp_rank, dp_size: this rank and the number of data-parallel ranks.
        device: where batches are wanted; for a GPU they pass through page-locked memory.
        workers: threads; 0: read when asked, in the caller's thread.
        prefetch: micro-batches ahead.
        batch_size_at: global batch size that begins at a sample; unset: as large as the one before.
        end: the sample at which the run ends and reading ahead stops.
    """

    def __init__(
        self,
        reader: BatchReader,
        *,
        micro_batch_size: int,
        dp_rank: int = 0,
        dp_size: int = 1,
        device: torch.device | str = "cpu",
        workers: int = 2,
        prefetch: int = 4,
        batch_size_at: Callable[[int], int] | None = None,
        end: int | None = None,
    ) -> None:
        self.reader = reader
        self.micro_batch_size = micro_batch_size
        self.dp_rank = dp_rank
        self.dp_size = dp_size
        self.device = torch.device(device)
        self.wait_seconds = 0.0  # time that callers have spent waiting for batches
        self._batch_size_at = batch_size_at
        self._end = end
        self._prefetch = max(prefetch, 1)
        self._pool = None if workers <= 0 else ThreadPoolExecutor(workers, "loader", _use_device, (self.device,))
        self._ahead: deque[tuple[int, Future[Batch]]] = deque()  # first sample of the micro-batch → its reading
        self._plan: Iterator[int] = iter(())  # first samples of the micro-batches after those

    def global_batch(self, first_sample: int, size: int) -> Iterator[Batch]:
        """This rank's micro-batches of samples ``first_sample`` to ``first_sample + size - 1``.

        Raises:
            ConfigError: ``size`` is not a multiple of micro-batch × ranks.
            DataError: a sample cannot be read, also when a background thread found that.
        """
        check_batch(size, self.micro_batch_size, self.dp_size, "global batch size")
        return self._global_batch(first_sample, size)

    def close(self) -> None:
        """Stops the threads; batches read ahead are dropped."""
        self._ahead.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _global_batch(self, first_sample: int, size: int) -> Iterator[Batch]:
        for number, sample in enumerate(self._starts(first_sample, size)):
            started = time.perf_counter()
            if self._pool is None:
                batch = self._read(sample)
            else:
                if not self._ahead or self._ahead[0][0] != sample:
                    self._go_to(first_sample, size, number)
                batch = self._ahead[0][1].result()
                self._ahead.popleft()
                self._fill()
            self.wait_seconds += time.perf_counter() - started
            yield batch if self.device.type == "cpu" else batch.to(self.device)

    def _starts(self, first_sample: int, size: int) -> range:
        """First samples of this rank's micro-batches."""
        share = size // self.dp_size
        first = first_sample + self.dp_rank * share
        return range(first, first + share, self.micro_batch_size)

    def _go_to(self, first_sample: int, size: int, number: int) -> None:
        """Drops what was read ahead and reads on from the micro-batch ``number`` of the given global batch."""
        for _, reading in self._ahead:
            reading.cancel()
        self._ahead.clear()
        self._plan = self._run_from(first_sample, size, number)
        self._fill()

    def _run_from(self, first_sample: int, size: int, number: int) -> Iterator[int]:
        yield from self._starts(first_sample, size)[number:]
        while True:
            first_sample += size
            if self._end is not None and first_sample >= self._end:
                return
            if self._batch_size_at is not None:
                size = self._batch_size_at(first_sample)
            yield from self._starts(first_sample, size)

    def _fill(self) -> None:
        assert self._pool is not None
        while len(self._ahead) < self._prefetch and (sample := next(self._plan, None)) is not None:
            self._ahead.append((sample, self._pool.submit(self._read, sample)))

    def _read(self, sample: int) -> Batch:
        batch = self.reader.read(sample, self.micro_batch_size)
        return batch.pin_memory() if self.device.type == "cuda" else batch


def _use_device(device: torch.device) -> None:
    """Threads start on GPU 0: page-locking memory there would open a context on a GPU that is another rank's."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
