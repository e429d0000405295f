"""Blocks in torch.distributed.checkpoint (DCP): planners that store and read rectangles of named tensors.

DCP keeps, per name, the shape of the whole tensor and a list of disjoint chunks. A save plan lists what this rank
holds; rank 0 shares it out (:mod:`steel_megatron.checkpoint.boxes`). A load plan cuts what is asked for out of whatever
chunks are there, so any partition loads into any other.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import (
    LoadPlan,
    ReadItem,
    SavePlan,
    SavePlanner,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from steel_megatron.checkpoint.boxes import Box, share_out
from steel_megatron.config import CheckpointError, StorageError
from steel_megatron.parallel.parameter import TensorSlice

# Several blocks of one tensor may lie on one rank.
BlocksByName = Mapping[str, TensorSlice | Sequence[TensorSlice]]

METADATA = ".metadata"  # DCP's table of contents
# A chunk is read whole even where a part of it is wanted, so this also bounds the memory of a load.
CHUNK_BYTES = 64 << 20


def listed(blocks: TensorSlice | Sequence[TensorSlice]) -> Sequence[TensorSlice]:
    """One or several blocks as a sequence."""
    return [blocks] if isinstance(blocks, TensorSlice) else blocks


def filled(blocks: TensorSlice | Sequence[TensorSlice]) -> list[TensorSlice]:
    """Those that have elements; of an empty one nothing is stored."""
    return [block for block in listed(blocks) if block.tensor.numel()]


def write_blocks(folder: Path, blocks: BlocksByName, group: dist.ProcessGroup | None) -> None:
    """Writes all ranks' blocks into the folder; a collective call where torch.distributed is initialised.

    Raises:
        CheckpointError: on every rank, if any rank failed.
    """
    with _told_plainly(), _without_crc32():
        dcp.save(
            dict(blocks),
            storage_writer=_Writer(folder, single_file_per_rank=True, sync_files=True),
            planner=_SliceSavePlanner(),
            process_group=group,
            no_dist=not dist.is_initialized(),
        )


def read_blocks(folder: Path, into: BlocksByName, group: dist.ProcessGroup | None, alone: bool = False) -> None:
    """Fills blocks, in place, from the stored tensors of their names; all of them must be there, in their shape.

    A collective call where torch.distributed is initialised, unless ``alone``.

    Raises:
        CheckpointError: on every rank, if any rank failed.
    """
    with _told_plainly():
        dcp.load(
            dict(into),
            storage_reader=_Reader(folder),
            planner=_SliceLoadPlanner(),
            process_group=group,
            no_dist=alone or not dist.is_initialized(),
        )


def stored_tensors(folder: Path) -> dict[str, TensorStorageMetadata]:
    """Name → shape (``size``), type (``properties.dtype``) and chunks of every stored tensor.

    Raises:
        CheckpointError: the table of contents is missing or damaged.
    """
    items = _metadata(folder).state_dict_metadata.items()
    return {name: item for name, item in items if isinstance(item, TensorStorageMetadata)}


def _metadata(folder: Path) -> Metadata:
    path = Path(folder) / METADATA
    try:
        stat = path.stat()
        return _read_metadata(folder, (stat.st_mtime_ns, stat.st_size))
    except Exception as error:  # a damaged pickle raises anything
        raise CheckpointError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


@functools.lru_cache(maxsize=2)  # tensors are often read one by one, and the table may be large
def _read_metadata(folder: Path, stamp: tuple[int, int]) -> Metadata:
    return dcp.FileSystemReader(folder).read_metadata()


class _Writer(dcp.FileSystemWriter):
    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        try:
            return super().write_data(plan, planner)
        except RuntimeError as error:
            # torch.save meets the disk's error with one of its own ("unexpected pos"), which says nothing.
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__cause__ or cause.__context__
            raise (cause or error) from None


class _Reader(dcp.FileSystemReader):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return _metadata(self.folder)


@contextlib.contextmanager
def _told_plainly() -> Iterator[None]:
    """DCP's exception, which is no Exception, as a CheckpointError; its hint on single processes is silenced."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
        try:
            yield
        except dcp.CheckpointException as error:
            failures = [(rank, failure[0]) for rank, failure in sorted(error.failures.items())]
            causes = [f"rank {rank}: {type(cause).__name__}: {cause}" for rank, cause in failures]
            of_disk = all(isinstance(cause, OSError) for _, cause in failures)
            raise (StorageError if of_disk else CheckpointError)("; ".join(causes[:3])) from error


@contextlib.contextmanager
def _without_crc32() -> Iterator[None]:
    """torch.save's own checksum is left out: the files are hashed as a whole."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


def _box(block: TensorSlice) -> Box:
    return Box(tuple(block.offset), tuple(block.tensor.shape))


def _chunk(box: Box) -> ChunkStorageMetadata:
    return ChunkStorageMetadata(offsets=torch.Size(box.offset), sizes=torch.Size(box.shape))


def _write_item(name: str, box: Box, shape: Sequence[int], properties: TensorProperties) -> WriteItem:
    return WriteItem(
        index=MetadataIndex(name, box.offset),
        type=WriteItemType.SHARD,
        tensor_data=TensorWriteData(chunk=_chunk(box), properties=properties, size=torch.Size(shape)),
    )


class _SliceSavePlanner(DefaultSavePlanner):
    """Saves each element of a tensor once, however many ranks hold it, in chunks of at most ``CHUNK_BYTES``.

    DCP calls, in this order: :meth:`create_local_plan` on every rank, :meth:`create_global_plan` on rank 0 with the
    plans of all, and :meth:`resolve_data` on every rank for each chunk that rank 0 gave it.
    """

    def __init__(self) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)

    def set_up_planner(
        self, state_dict: dict[str, Any], storage_meta: Any = None, is_coordinator: bool = False
    ) -> None:
        self.state_dict = state_dict
        self.is_coordinator = is_coordinator

    def create_local_plan(self) -> SavePlan:
        """One item for each rectangle that this rank holds: its name, offset, shape, and the whole tensor's shape."""
        self.plan = SavePlan(
            [
                _write_item(
                    name, _box(block), block.global_shape, TensorProperties.create_from_tensor(block.tensor.detach())
                )
                for name, blocks in self.state_dict.items()
                for block in filled(blocks)
            ]
        )
        return self.plan

    def create_global_plan(self, all_plans: list[SavePlan]) -> tuple[list[SavePlan], Metadata]:
        """From what each rank holds to what each writes: disjoint boxes that cover every tensor, shared out evenly.

            all_plans   per rank: boxes of named tensors, an offset and a shape of d numbers each for a tensor of d
                        dimensions; boxes of several ranks may be the same, or overlap
            shares      per rank: boxes inside its own, of at most ``CHUNK_BYTES``; over all ranks each element in one

        Raises:
            ValueError: ranks differ about a tensor's shape or type.
        """
        kinds: dict[str, tuple[int, torch.Size, TensorProperties]] = {}  # by name: first rank, shape, properties
        held: list[dict[str, list[Box]]] = [{} for _ in all_plans]  # by rank and name
        for rank, plan in enumerate(all_plans):
            for item in plan.items:
                data, name = item.tensor_data, item.index.fqn
                assert data is not None
                first, size, properties = kinds.setdefault(name, (rank, data.size, data.properties))
                if (size, properties.dtype) != (data.size, data.properties.dtype):
                    raise ValueError(
                        f"{name} is {tuple(size)} of {properties.dtype} on rank {first}, "
                        f"{tuple(data.size)} of {data.properties.dtype} on rank {rank}"
                    )
                held[rank].setdefault(name, []).append(Box(tuple(data.chunk.offsets), tuple(data.chunk.sizes)))
        shapes = {name: tuple(size) for name, (_, size, _) in kinds.items()}
        item_sizes = {name: properties.dtype.itemsize for name, (_, _, properties) in kinds.items()}
        shares = share_out(held, shapes, item_sizes, CHUNK_BYTES)
        return super().create_global_plan(
            [SavePlan([_write_item(name, box, *kinds[name][1:]) for name, box in share]) for share in shares]
        )

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        """The elements of a chunk, in the chunk's shape, out of a rectangle of this rank that holds all of it."""
        assert write_item.tensor_data is not None
        chunk = write_item.tensor_data.chunk
        wanted = Box(tuple(chunk.offsets), tuple(chunk.sizes))
        block = next(b for b in filled(self.state_dict[write_item.index.fqn]) if _box(b).contains(wanted))
        starts = [start - first for start, first in zip(wanted.offset, block.offset, strict=True)]
        return _with_own_storage(_narrow(block.tensor.detach(), starts, wanted.shape))


class _SliceLoadPlanner(DefaultLoadPlanner):
    """Fills each rectangle from all stored chunks that meet it."""

    def __init__(self) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)

    def set_up_planner(
        self, state_dict: dict[str, Any], metadata: Metadata | None = None, is_coordinator: bool = False
    ) -> None:
        self.state_dict = state_dict
        self.metadata = metadata
        self.is_coordinator = is_coordinator

    def create_local_plan(self) -> LoadPlan:
        """For each rectangle that is asked for, one item per stored chunk that meets it: the box that both have, by its
        offset in the chunk, its offset in the rectangle, and its shape."""
        assert self.metadata is not None
        items: list[ReadItem] = []
        for name, blocks in self.state_dict.items():
            chunks = [_chunk(_box(block)) for block in filled(blocks)]
            if chunks:
                stored = self.metadata.state_dict_metadata[name]
                assert isinstance(stored, TensorStorageMetadata)
                items += create_read_items_for_chunk_list(name, stored, chunks)
        return LoadPlan(items)

    def resolve_tensor(self, read_item: ReadItem) -> Tensor:
        """Where what is read of one chunk goes: a view into one of this rank's rectangles."""
        block = filled(self.state_dict[read_item.dest_index.fqn])[read_item.dest_index.index or 0]
        return _narrow(block.tensor.detach(), read_item.dest_offsets, read_item.lengths)


def _narrow(tensor: Tensor, starts: Sequence[int], lengths: Sequence[int]) -> Tensor:
    for dim, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        tensor = tensor.narrow(dim, start, length)
    return tensor


def _with_own_storage(tensor: Tensor) -> Tensor:
    """The same memory as a storage of its own, so that DCP need not copy a part of a large buffer to save it alone."""
    if tensor.device.type != "cpu" or not tensor.is_contiguous():
        return tensor
    content = torch.from_numpy(tensor.reshape(-1).view(torch.uint8).numpy())
    return content.view(tensor.dtype).view(tensor.shape)
