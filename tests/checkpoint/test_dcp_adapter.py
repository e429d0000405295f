"""Blocks through torch.distributed.checkpoint: any partition is stored bitwise and loads into any other."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from helpers.partitions import (
    DTYPES,
    counts,
    empty_slice,
    held_by_ranks,
    random_partition,
    same_bits,
    slice_of,
    tensor_of,
    view_of,
)
from helpers.processes import run_processes
from steel_megatron.checkpoint import dcp_adapter
from steel_megatron.checkpoint.boxes import Box
from steel_megatron.checkpoint.dcp_adapter import read_blocks, stored_tensors, write_blocks
from steel_megatron.config import CheckpointError
from steel_megatron.parallel.parameter import TensorSlice

SHAPES = {"matrix": (7, 6), "vector": (11,), "cube": (3, 4, 5), "number": (), "row": (1, 9)}


def tensors(seed: int) -> dict[str, torch.Tensor]:
    """A tensor of every shape in every type."""
    return {
        f"{name}.{str(dtype).removeprefix('torch.')}": tensor_of(shape, dtype, seed)
        for name, shape in SHAPES.items()
        for dtype in DTYPES
    }


def assert_stored(folder: Path, whole: dict[str, torch.Tensor]) -> None:
    found = stored_tensors(folder)
    assert found.keys() == whole.keys()
    for name, item in found.items():
        assert (tuple(item.size), item.properties.dtype) == (tuple(whole[name].shape), whole[name].dtype)
        chunks = [Box(tuple(chunk.offsets), tuple(chunk.sizes)) for chunk in item.chunks]
        assert (counts(tuple(item.size), chunks) == 1).all(), name


def loaded_right(folder: Path, whole: dict[str, torch.Tensor], wanted: dict[str, list[Box]]) -> None:
    """Loads some boxes of every tensor and compares them."""
    into = {name: [empty_slice(whole[name], box) for box in boxes] for name, boxes in wanted.items()}
    read_blocks(folder, into, None)
    for name, blocks in into.items():
        for block, box in zip(blocks, wanted[name], strict=True):
            assert same_bits(block.tensor, view_of(whole[name], box)), (name, box)


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from([8, 40, 64 << 20]))
def test_any_partition_loads_into_any_other(seed: int, chunk_bytes: int) -> None:
    """In one process, which may hold several blocks of a tensor, overlapping ones too."""
    random = np.random.default_rng(seed)
    whole = tensors(seed)
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setattr(dcp_adapter, "CHUNK_BYTES", chunk_bytes)
        layers = int(random.integers(1, 3))
        stored = {n: held_by_ranks(tuple(t.shape), random, 1, layers)[0] for n, t in whole.items()}
        write_blocks(folder, {n: [slice_of(whole[n], box) for box in boxes] for n, boxes in stored.items()}, None)
        assert_stored(folder, whole)
        loaded_right(folder, whole, {n: random_partition(tuple(t.shape), random, 4) for n, t in whole.items()})


def save_shares(root: Path) -> None:
    """Writes this rank's boxes; under ``2`` every element lies twice on the ranks, in boxes that overlap."""
    dcp_adapter.CHUNK_BYTES = 64
    rank, ranks = dist.get_rank(), dist.get_world_size()
    for layers in (1, 2):
        random = np.random.default_rng(layers)  # the same on every rank
        whole = tensors(layers)
        held = {n: held_by_ranks(tuple(t.shape), random, ranks, layers)[rank] for n, t in whole.items()}
        blocks = {n: [slice_of(whole[n], box) for box in boxes] for n, boxes in held.items()}
        write_blocks(root / str(layers), blocks, None)


def load_shares(root: Path) -> None:
    for layers in (1, 2):
        random = np.random.default_rng([layers, dist.get_rank()])
        whole = tensors(layers)
        some = {n: random_partition(tuple(t.shape), random, 3)[: int(random.integers(4))] for n, t in whole.items()}
        loaded_right(root / str(layers), whole, some)


def test_four_ranks_save_and_any_number_loads(tmp_path: Path) -> None:
    run_processes(save_shares, 4, tmp_path)
    for layers in (1, 2):
        whole = tensors(layers)
        assert_stored(tmp_path / str(layers), whole)
        everything = {n: [Box((0,) * t.dim(), tuple(t.shape))] for n, t in whole.items()}
        loaded_right(tmp_path / str(layers), whole, everything)
    for world_size in (2, 3):
        run_processes(load_shares, world_size, tmp_path)


def save_replicated(folder: Path) -> int:
    whole = {f"layer{n}": tensor_of((64, 64), torch.float32, n) for n in range(8)}
    write_blocks(folder, {n: slice_of(t, Box((0, 0), (64, 64))) for n, t in whole.items()}, None)
    return sum(path.stat().st_size for path in folder.glob(f"__{dist.get_rank()}_*"))


def test_what_every_rank_holds_is_written_once_and_by_all(tmp_path: Path) -> None:
    sizes = run_processes(save_replicated, 4, tmp_path)
    once = 8 * 64 * 64 * 4
    assert once < sum(sizes) < 1.25 * once
    assert max(sizes) < 1.1 * min(sizes)


def test_torchs_own_tools_read_what_is_written(tmp_path: Path) -> None:
    whole = tensors(3)
    random = np.random.default_rng(1)
    boxes = {name: random_partition(tuple(tensor.shape), random, 1) for name, tensor in whole.items()}
    write_blocks(tmp_path, {name: [slice_of(whole[name], box) for box in boxes[name]] for name in whole}, None)
    dcp_to_torch_save(tmp_path, tmp_path / "one.pt")
    found = torch.load(tmp_path / "one.pt")
    assert found.keys() == whole.keys()
    assert all(same_bits(found[name], tensor) for name, tensor in whole.items())


def test_a_part_of_a_large_buffer_is_stored_alone_and_left_as_it_was(tmp_path: Path) -> None:
    buffer = torch.arange(1 << 20, dtype=torch.float32)
    rows = buffer[1000:1600].view(20, 30)
    before = buffer.clone()
    write_blocks(tmp_path, {"w": TensorSlice(rows, (20, 30), (0, 0)), "t": TensorSlice(rows.T, (30, 20), (0, 0))}, None)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2 * rows.nbytes + 8000
    into = {
        "w": TensorSlice(torch.empty(20, 30), (20, 30), (0, 0)),
        "t": TensorSlice(torch.empty(30, 20), (30, 20), (0, 0)),
    }
    read_blocks(tmp_path, into, None)
    assert torch.equal(into["w"].tensor, rows)
    assert torch.equal(into["t"].tensor, rows.T)
    assert torch.equal(buffer, before)


def test_parameters_that_want_gradients_are_stored_and_loaded(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.randn(4, 3))
    write_blocks(tmp_path, {"w": TensorSlice(parameter, (4, 3), (0, 0))}, None)
    other = torch.nn.Parameter(torch.zeros(4, 3))
    read_blocks(tmp_path, {"w": TensorSlice(other, (4, 3), (0, 0))}, None)
    assert torch.equal(parameter, other)
    assert other.requires_grad


def test_values_are_converted_to_the_type_of_the_block(tmp_path: Path) -> None:
    values = torch.randn(5, 3)
    write_blocks(tmp_path, {"w": TensorSlice(values, (5, 3), (0, 0))}, None)
    into = TensorSlice(torch.empty(2, 3, dtype=torch.bfloat16), (5, 3), (3, 0))
    read_blocks(tmp_path, {"w": into}, None)
    assert torch.equal(into.tensor, values[3:].bfloat16())


def test_empty_blocks_are_neither_written_nor_read(tmp_path: Path) -> None:
    values = torch.randn(4, 3)
    empty = TensorSlice(torch.empty(0, 3), (4, 3), (4, 0))
    write_blocks(tmp_path, {"w": [empty, TensorSlice(values, (4, 3), (0, 0))], "none": empty}, None)
    assert stored_tensors(tmp_path).keys() == {"w"}
    into = TensorSlice(torch.empty(3, 3), (4, 3), (1, 0))
    read_blocks(tmp_path, {"w": [empty, into], "none": empty}, None)
    assert torch.equal(into.tensor, values[1:])


@pytest.mark.parametrize("computed", [True, False])
def test_checksums_of_torch_are_as_before(tmp_path: Path, computed: bool) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(computed)
    try:
        write_blocks(tmp_path, {"w": TensorSlice(torch.ones(3), (3,), (0,))}, None)
        assert torch.serialization.get_crc32_options() == computed
    finally:
        torch.serialization.set_crc32_options(before)


def test_metadata_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_blocks(tmp_path / name, {name: TensorSlice(torch.ones(3), (3,), (0,))}, None)
        shutil.copyfile(tmp_path / name / ".metadata", tmp_path / ".metadata")
        assert stored_tensors(tmp_path).keys() == {name}


@pytest.mark.parametrize("content", [None, b"", b"not a pickle", b"\x80\x04N."])
def test_a_damaged_table_of_contents_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / ".metadata").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"\.metadata cannot be read"):
        stored_tensors(tmp_path)


REASONS = {
    "shape": "w is (4, 2) of torch.float32 on rank 0, (5, 2) of torch.float32 on rank 1",
    "dtype": "w is (4, 2) of torch.float32 on rank 0, (4, 2) of torch.bfloat16 on rank 1",
    "outside": "outside of it",
    "nonsense": "rank 1: TypeError",
}


def save_what_does_not_agree(root: Path) -> dict[str, str]:
    """What each case was told."""
    good = TensorSlice(torch.ones(4, 2), (4, 2), (0, 0))
    bad: dict[str, Any] = {
        "shape": TensorSlice(torch.ones(4, 2), (5, 2), (0, 0)),
        "dtype": TensorSlice(torch.ones(4, 2, dtype=torch.bfloat16), (4, 2), (0, 0)),
        "outside": TensorSlice(torch.ones(4, 2), (4, 2), (1, 0)),
        "nonsense": None,
    }
    told = {}
    for case, block in bad.items():
        try:
            write_blocks(root / case, {"w": block if dist.get_rank() == 1 else good}, None)
        except CheckpointError as error:
            told[case] = str(error)
    return told


def test_blocks_that_do_not_agree_fail_on_every_rank(tmp_path: Path) -> None:
    for told in run_processes(save_what_does_not_agree, 2, tmp_path):
        assert told.keys() == REASONS.keys()
        assert all(REASONS[case] in told[case] for case in REASONS), told
