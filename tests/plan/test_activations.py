"""The fullest moment of a step."""

from __future__ import annotations

from steel_megatron.config import RunConfig
from steel_megatron.parallel.pipeline.actions import Action, Kind
from steel_megatron.parallel.pipeline.layout import StageLayers
from steel_megatron.plan.activations import ChunkCost, Peak, chunk_cost, device_type, peak_of, run_sizes

COST = ChunkCost(blocks=100, head=10, again=5, block_working=20, head_working=7)


def passes(letters: str) -> list[Action]:
    return [Action(Kind(letter), 0, 0) for letter in letters]


def test_the_peak_is_the_fullest_moment_of_the_order() -> None:
    assert peak_of(passes("FB"), [COST]) == Peak(100, 25)  # in the block: the head is free by then
    assert peak_of(passes("FFBB"), [COST]) == Peak(210, 25)
    assert peak_of(passes("FBFB"), [COST]) == peak_of(passes("FB"), [COST])
    assert peak_of(passes("F"), [COST]) == Peak(110, 7)
    assert peak_of([], [COST]) == Peak(0, 0)
    assert Peak(100, 25).total == 125


def test_a_chunk_without_the_head_keeps_none_of_it() -> None:
    config = RunConfig.of(num_layers=2, vocab_size=1000, seq_length=64, micro_batch_size=2, device="cpu")
    last, first = (chunk_cost(config, StageLayers(0, range(1), first=not end, last=end)) for end in (True, False))
    assert (first.head, first.head_working) == (0, 0)
    assert last.head > 0
    again = config.replace(micro_batch_size=4)
    assert chunk_cost(again, StageLayers(0, range(1), first=True, last=False)).blocks == 2 * first.blocks


def test_a_plan_is_for_a_gpu_unless_the_run_says_cpu() -> None:
    cpu = RunConfig.of(device="cpu", vocab_size=1000, tensor_model_parallel_size=1, sequence_parallel=True)
    assert (device_type(cpu), device_type(cpu.replace(device="auto"))) == ("cpu", "cuda")
    assert run_sizes(cpu).share == 1.0
    assert run_sizes(cpu.replace(tensor_model_parallel_size=2)).share == 0.5
