"""A zstd file of many frames read in stretches: where its frames begin is told without unpacking them.

Format: RFC 8878. A frame is a header, blocks that each tell their size, and perhaps a checksum.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

from steel_megatron.jobs.files import is_url

_FRAME, _SKIPPABLE = 0xFD2FB528, 0x184D2A50  # the last half-byte of a skippable frame's number is free
_RUN, _RESERVED = 1, 3  # types of blocks
_HEADER, _BLOCK_HEADER, _CHECKSUM = 6, 3, 4


def frame_starts(path: str | os.PathLike[str]) -> list[int]:
    """Bytes of the file at which its frames begin, ascending; skippable frames go with the one that follows them.

    What follows the last whole frame goes with it, so that whoever reads it is told what is wrong. A file at a URL, and
    one that is packed otherwise, begins at 0 and no more is known of it.
    """
    if is_url(path) or not os.path.getsize(path):
        return [0]
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return list(_starts(data)) or [0]


def _starts(data: mmap.mmap) -> Iterator[int]:
    at = start = 0
    while at + _HEADER <= len(data):
        magic = int.from_bytes(data[at : at + 4], "little")
        if magic & 0xFFFFFFF0 == _SKIPPABLE:
            at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        elif magic == _FRAME and (end := _end_of_frame(data, at)) is not None:
            yield start
            at = start = end
        else:
            break


def _end_of_frame(data: mmap.mmap, start: int) -> int | None:
    """The byte behind a frame; None where the file ends before, or a block is none."""
    descriptor = data[start + 4]
    single_segment = descriptor >> 5 & 1
    content_size = (single_segment, 2, 4, 8)[descriptor >> 6]
    at = start + 5 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3] + content_size
    last = False
    while not last:
        if at + _BLOCK_HEADER > len(data):
            return None
        header = int.from_bytes(data[at : at + _BLOCK_HEADER], "little")
        last, kind = bool(header & 1), header >> 1 & 3
        if kind == _RESERVED:
            return None
        at += _BLOCK_HEADER + (1 if kind == _RUN else header >> 3)
    at += _CHECKSUM * (descriptor >> 2 & 1)
    return at if at <= len(data) else None
