"""A contender that runs out of memory, fails or dies is a row with a reason, and smaller micro-batches are tried."""

from __future__ import annotations

import time

import pytest
import step_worker
import torch
from step_contender import Setting
from step_worker import OUT_OF_MEMORY, OUT_OF_TIME, Memory, Worker, largest_that_fits, out_of_memory

from steel_megatron.config import RunConfig


def setting() -> Setting:
    return Setting(RunConfig().replace(vocab_size=11, seq_length=6), "cpu")


def test_the_first_size_that_fits_is_taken() -> None:
    tried = []

    def build(given: Setting):
        size = given.config.training.micro_batch_size
        tried.append(size)
        assert given.config.training.global_batch_size == size
        if size == 16:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

        def step() -> None:
            if size == 8:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

        return step

    step, size = largest_that_fits(build, setting(), [16, 8, 4, 2], Memory("cpu"))
    assert (size, tried) == (4, [16, 8, 4])
    assert step is not None
    assert largest_that_fits(build, setting(), [16, 8], Memory("cpu")) == (None, 0)


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    def build(given: Setting):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        largest_that_fits(build, setting(), [4], Memory("cpu"))
    assert out_of_memory(MemoryError())
    assert out_of_memory(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))
    assert not out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_batches_are_inputs_and_the_label_of_the_last_one() -> None:
    batches = setting().of_micro_batch(3).batches(2)
    assert [tuple(batch.shape) for batch in batches] == [(3, 7), (3, 7)]
    assert not torch.equal(*batches)
    assert max(int(batch.max()) for batch in batches) < 11


class FakePipe:
    """Answers as a worker would; an exception is the end of its process."""

    def __init__(self, *answers: object, ready: bool = True) -> None:
        self.answers, self.ready = list(answers), ready

    def send(self, message: object) -> None:
        pass

    def poll(self, timeout: float | None) -> bool:
        return self.ready

    def recv(self) -> object:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def worker_on(pipe: FakePipe, deadline: float | None = None) -> Worker:
    worker = object.__new__(Worker)
    worker._pipe, worker._deadline, worker.error, worker.micro_batch_size = pipe, deadline, "", 0
    worker._process = type("Ended", (), {"join": lambda self: None, "exitcode": -9})()
    return worker


def test_what_a_worker_says_becomes_its_error() -> None:
    fits = worker_on(FakePipe((4, ""), (0.5, ""), (None, OUT_OF_MEMORY)))
    fits.await_start()
    assert (fits.micro_batch_size, fits.error) == (4, "")
    assert fits.ask("time", 1) == 0.5
    assert fits.ask("time", 1) is None
    assert fits.error == OUT_OF_MEMORY
    assert fits.ask("memory") is None  # nothing more is asked
    nothing_fits = worker_on(FakePipe((0, "")))
    nothing_fits.await_start()
    assert nothing_fits.error == OUT_OF_MEMORY
    killed = worker_on(FakePipe(EOFError()))
    killed.await_start()
    assert killed.error == "its process ended with status -9"
    late = worker_on(FakePipe(ready=False), deadline=time.monotonic())
    late.await_start()
    assert late.error == OUT_OF_TIME


def test_a_contender_that_needs_a_gpu_says_so_on_a_cpu() -> None:
    reasons = {name: contender.missing("cpu") for name, contender in step_worker.CONTENDERS.items()}
    for_gpus = ("Liger", "--fp8-format", "--cuda-graph", "--transformer-impl", "backend te", "backend apex")
    assert all(reason for name, reason in reasons.items() if any(word in name for word in for_gpus))
    assert not reasons["steel_megatron, --kernel-backend torch"]
