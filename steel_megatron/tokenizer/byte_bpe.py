"""Byte-pair encoding by ranks, in plain Python: exact for pieces of any length, in O(n log n).

It is what encodes where tiktoken is absent and where a text has a run too long for tiktoken, and what recovers the
merges of a vocabulary that is stored as ranks.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import AnyStr

from steel_megatron.config import DataError

# How Qwen's tokenizers cut a text into pieces before merging.
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def read_ranks(path: Path) -> dict[bytes, int]:
    """The tokens of a ``.tiktoken`` file (``base64(token) rank`` per line) with their ranks 0, 1, 2 …

    Raises:
        DataError: a line is not of that form, a rank is missing or given twice, or one of the 256 bytes has no token.
    """
    ranks: dict[bytes, int] = {}
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            parts = line.split()
            if not parts:
                continue
            try:
                token, rank = parts
                ranks[base64.b64decode(token, validate=True)] = int(rank)
            except (ValueError, binascii.Error):
                raise DataError(
                    f"{path}, line {number}: {line[:60]!r}",
                    rule="each line of a .tiktoken vocabulary is a token in base64 and its rank",
                    fix="download or copy the file again",
                ) from None
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise DataError(
            f"{path}: the ranks of its {len(ranks)} tokens are not 0 … {len(ranks) - 1}",
            rule="every rank occurs once",
            fix="the file is cut or damaged; copy it again",
        )
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of the 256 single bytes have no token (first: {missing[0]:#04x})",
            rule="a byte-level vocabulary can spell any text",
        )
    return ranks


def merge(piece: AnyStr, ranks: Mapping[AnyStr, int], below: int | None = None) -> list[AnyStr]:
    """The parts of a piece after merging neighbours, lowest rank first and leftmost among equals.

    Args:
        below: only merges of a rank below this one are done.

    The piece starts as single bytes (of a ``bytes``) or characters (of a ``str``). Two neighbours merge when both
    together are a token, as in tiktoken and SentencePiece.
    """
    n = len(piece)
    limit = len(ranks) if below is None else below
    end_of = list(range(1, n + 1))  # by the start of a part; -1 when no part starts there any more
    start_before = list(range(-1, n - 1))  # start of the part to the left
    heap: list[tuple[int, int, int]] = []

    def offer(start: int, end: int) -> None:
        rank = ranks.get(piece[start:end], limit)
        if rank < limit:
            heap.append((rank, start, end))

    for start in range(n - 1):
        offer(start, start + 2)
    heapify(heap)
    while heap:
        _, start, end = heappop(heap)
        middle = end_of[start]
        if middle < 0 or middle >= n or end_of[middle] != end:
            continue  # one of the two parts has merged with another since
        end_of[start], end_of[middle] = end, -1
        if end < n:
            start_before[end] = start
        for left, right in ((start_before[start], end), (start, end_of[end] if end < n else -1)):
            if left >= 0 and right >= 0:
                rank = ranks.get(piece[left:right], limit)
                if rank < limit:
                    heappush(heap, (rank, left, right))
    parts, start = [], 0
    while start < n:
        parts.append(piece[start : end_of[start]])
        start = end_of[start]
    return parts


def recover_merges(ranks: Mapping[AnyStr, int]) -> tuple[list[tuple[AnyStr, AnyStr]], int]:
    """The pairs that merge, in order of rank, and the number of tokens that no pair makes.

    A vocabulary of ranks has tokens, not pairs. The pair of a token is what the token itself comes to when only tokens
    of lower rank are merged: when its rank is reached in a text, whatever stands beside it, its bytes are in exactly
    these two parts, or a part reaches over its edge and the token cannot arise there.
    """
    pairs, unreachable = [], 0
    for token in sorted(ranks, key=ranks.__getitem__):
        if len(token) == 1:
            continue
        parts = merge(token, ranks, below=ranks[token])
        if len(parts) == 2:
            pairs.append((parts[0], parts[1]))
        else:
            unreachable += 1
    return pairs, unreachable


def encode_piece(piece: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    """The ids of one piece: its own when it is a token, else those of its merged parts."""
    whole = ranks.get(piece)
    if whole is not None:
        return [whole]
    return [ranks[part] for part in merge(piece, ranks)]


@lru_cache(maxsize=1)
def byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for each byte, the alphabet in which Hugging Face files spell byte-level tokens."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in letters)
    letters.update({byte: chr(0x100 + i) for i, byte in enumerate(others)})
    return letters


def spell(token: bytes) -> str:
    """A token in the alphabet of :func:`byte_letters`."""
    letters = byte_letters()
    return "".join(letters[byte] for byte in token)
