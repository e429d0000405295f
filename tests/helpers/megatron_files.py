"""Megatron's .bin/.idx written and read with numpy alone, from the table of the format."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

CODES = {"uint8": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5, "float64": 6, "float32": 7, "uint16": 8}

Documents = list[list[list[Any]]]  # documents of sequences of ids


def megatron_bytes(documents: Documents, dtype: str, modes: list[int] | None = None) -> tuple[bytes, bytes]:
    """What .bin and .idx hold."""
    sequences = [sequence for document in documents for sequence in document]
    lengths = [len(sequence) for sequence in sequences]
    size = np.dtype(dtype).itemsize
    pointers = [size * sum(lengths[:i]) for i in range(len(lengths))]
    boundaries = np.cumsum([0, *(len(document) for document in documents)])
    tokens = b"".join(np.array(sequence, dtype).tobytes() for sequence in sequences)
    index = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, CODES[dtype], len(sequences), len(boundaries))
    index += struct.pack(f"<{len(lengths)}i", *lengths) + struct.pack(f"<{len(pointers)}q", *pointers)
    index += struct.pack(f"<{len(boundaries)}q", *boundaries.tolist())
    return tokens, index + bytes(modes or [])


def write_megatron(prefix: Path | str, documents: Documents, dtype: str, modes: list[int] | None = None) -> str:
    """Returns the prefix as text."""
    tokens, index = megatron_bytes(documents, dtype, modes)
    Path(f"{prefix}.bin").write_bytes(tokens)
    Path(f"{prefix}.idx").write_bytes(index)
    return str(prefix)


def read_megatron(prefix: Path | str) -> tuple[str, Documents]:
    """The token type and the documents."""
    index = Path(f"{prefix}.idx").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, code, count, boundary_count = struct.unpack_from("<QBQQ", index, 9)
    assert version == 1
    dtype = next(name for name, number in CODES.items() if number == code)
    lengths = struct.unpack_from(f"<{count}i", index, 34)
    pointers = struct.unpack_from(f"<{count}q", index, 34 + 4 * count)
    boundaries = struct.unpack_from(f"<{boundary_count}q", index, 34 + 12 * count)
    assert len(index) == 34 + 12 * count + 8 * boundary_count
    tokens = Path(f"{prefix}.bin").read_bytes()
    size = np.dtype(dtype).itemsize
    sequences = [
        np.frombuffer(tokens[pointer : pointer + size * length], dtype).tolist()
        for pointer, length in zip(pointers, lengths, strict=True)
    ]
    return dtype, [sequences[first:last] for first, last in pairwise(boundaries)]
