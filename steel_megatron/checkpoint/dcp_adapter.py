"""Blocks in torch.distributed.checkpoint (DCP): planners that store and read rectangles of named tensors.

DCP keeps, per name, the shape of the whole tensor and a list of rectangular chunks. A save plan lists this rank's
chunks; equal chunks of several ranks are written once, by the rank with least to write. A load plan cuts what is asked
for out of whatever chunks are there, so any partition loads into any other.
"""

from __future__ import annotations

import contextlib
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
    TensorWriteData,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list

from steel_megatron.config import CheckpointError
from steel_megatron.parallel.spec import Block

# Several blocks of one tensor may lie on one rank.
BlocksByName = Mapping[str, Block | Sequence[Block]]


def listed(blocks: Block | Sequence[Block]) -> Sequence[Block]:
    """One or several blocks as a sequence."""
    return [blocks] if isinstance(blocks, Block) else blocks


def write_blocks(folder: Path, blocks: BlocksByName, group: dist.ProcessGroup | None) -> None:
    """Writes all ranks' blocks into the folder; a collective call where torch.distributed is initialised."""
    with _told_plainly():
        dcp.save(
            dict(blocks),
            storage_writer=dcp.FileSystemWriter(folder, single_file_per_rank=True, sync_files=True),
            planner=_BlockSavePlanner(),
            process_group=group,
            no_dist=not dist.is_initialized(),
        )


def read_blocks(folder: Path, into: BlocksByName, group: dist.ProcessGroup | None, alone: bool = False) -> None:
    """Fills blocks, in place, from the stored tensors of their names.

    A collective call where torch.distributed is initialised, unless ``alone``.
    """
    with _told_plainly():
        dcp.load(
            dict(into),
            storage_reader=dcp.FileSystemReader(folder),
            planner=_BlockLoadPlanner(),
            process_group=group,
            no_dist=alone or not dist.is_initialized(),
        )


@contextlib.contextmanager
def _told_plainly() -> Iterator[None]:
    """DCP's exception, which is no Exception, as a CheckpointError; its hint on single processes is silenced."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
        try:
            yield
        except dcp.CheckpointException as error:
            causes = [f"rank {rank}: {cause[0]!r}" for rank, cause in sorted(error.failures.items())]
            raise CheckpointError("; ".join(causes[:3])) from error


def stored_tensors(folder: Path) -> dict[str, TensorStorageMetadata]:
    """Name → shape (``size``), type (``properties.dtype``) and chunks of every stored tensor."""
    metadata: Metadata = dcp.FileSystemReader(folder).read_metadata()
    return {
        name: item for name, item in metadata.state_dict_metadata.items() if isinstance(item, TensorStorageMetadata)
    }


def _chunk(block: Block) -> ChunkStorageMetadata:
    return ChunkStorageMetadata(offsets=torch.Size(block.offset), sizes=block.tensor.shape)


class _BlockSavePlanner(DefaultSavePlanner):
    def __init__(self) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)

    def set_up_planner(
        self, state_dict: dict[str, Any], storage_meta: Any = None, is_coordinator: bool = False
    ) -> None:
        self.state_dict = state_dict
        self.is_coordinator = is_coordinator

    def create_local_plan(self) -> SavePlan:
        self.plan = SavePlan(list(self._write_items()))
        return self.plan

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        found = _block_at(self.state_dict, write_item.index)
        return found.detach()

    def _write_items(self) -> Iterator[WriteItem]:
        for name, blocks in self.state_dict.items():
            for block in listed(blocks):
                if block.tensor.numel() == 0:
                    continue
                yield WriteItem(
                    index=MetadataIndex(name, block.offset),
                    type=WriteItemType.SHARD,
                    tensor_data=TensorWriteData(
                        chunk=_chunk(block),
                        properties=TensorProperties.create_from_tensor(block.tensor),
                        size=torch.Size(block.global_shape),
                    ),
                )


class _BlockLoadPlanner(DefaultLoadPlanner):
    def __init__(self) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)

    def set_up_planner(
        self, state_dict: dict[str, Any], metadata: Metadata | None = None, is_coordinator: bool = False
    ) -> None:
        self.state_dict = state_dict
        self.metadata = metadata
        self.is_coordinator = is_coordinator

    def create_local_plan(self) -> LoadPlan:
        assert self.metadata is not None
        items: list[ReadItem] = []
        for name, blocks in self.state_dict.items():
            stored = self.metadata.state_dict_metadata[name]
            assert isinstance(stored, TensorStorageMetadata)
            chunks = [_chunk(block) for block in listed(blocks)]
            items += create_read_items_for_chunk_list(name, stored, chunks)
        return LoadPlan(items)

    def resolve_tensor(self, read_item: ReadItem) -> Tensor:
        target = listed(self.state_dict[read_item.dest_index.fqn])[read_item.dest_index.index or 0].tensor.detach()
        for dim, (start, length) in enumerate(zip(read_item.dest_offsets, read_item.lengths, strict=True)):
            target = target.narrow(dim, start, length)
        return target


def _block_at(blocks: Mapping[str, Any], index: MetadataIndex) -> Tensor:
    """The tensor of the block that a write item was made for."""
    assert index.offset is not None
    return next(block.tensor for block in listed(blocks[index.fqn]) if tuple(block.offset) == tuple(index.offset))
