"""Initial weights that do not depend on the layout, the device or the dtype.

Each piece of a parameter is cut into blocks of whole rows. A block's values are a pure function of (seed, canonical
name, number of the block): numpy's Philox counter generator keyed by a hash of the three, fp32, on the host. A rank
generates the blocks its rows touch and keeps its rectangle of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from steel_megatron.parallel.parameter import Piece, slices_of

_BLOCK_ELEMENTS = 1 << 18  # part of the definition of the weights: changing it changes every initialisation


def initialize_parameters(parameters: Iterable[Tensor], seed: int) -> None:
    """Fills parameters that have a spec with their initial values, in place.

    Rows of a vocabulary that are padding become 0. The same (seed, name) gives the same values on every layout.
    """
    with ThreadPoolExecutor(max(torch.get_num_threads(), 1)) as pool, torch.no_grad():
        for parameter in parameters:
            for piece, block in slices_of(parameter):
                _fill(block.tensor, piece, seed, pool)


def _fill(view: Tensor, piece: Piece, seed: int, pool: ThreadPoolExecutor) -> None:
    if piece.init.kind == "zeros":
        view.zero_()
    elif piece.init.kind == "ones":
        view.fill_(1.0)
    elif piece.init.kind == "normal":
        first, last = piece.offset[0], piece.offset[0] + piece.shape[0]
        if piece.rows is not None:
            last = max(min(last, piece.rows), first)
        view[last - first :].zero_()
        rows = block_rows(piece)

        def fill_block(number: int) -> None:
            low, high = max(first, number * rows), min(last, (number + 1) * rows)
            values = normal_rows(piece, seed, number, high - number * rows)
            wanted = [slice(low - number * rows, high - number * rows)]
            wanted += [slice(o, o + n) for o, n in zip(piece.offset[1:], piece.shape[1:], strict=True)]
            view[low - first : high - first].copy_(torch.from_numpy(values[tuple(wanted)]).mul_(piece.init.std))

        if last > first:
            list(pool.map(fill_block, range(first // rows, -(-last // rows))))
    else:
        raise ValueError(f"unknown initialisation {piece.init.kind!r} of {piece.name}")


def block_rows(piece: Piece) -> int:
    """Rows of one block; depends on the tensor's row alone, so padding a vocabulary moves nothing."""
    return max(_BLOCK_ELEMENTS // math.prod(piece.global_shape[1:]), 1)


def normal_rows(piece: Piece, seed: int, number: int, count: int) -> np.ndarray:
    """Standard normal fp32 values of the first ``count`` rows of a block, at full width."""
    digest = hashlib.blake2b(f"{seed}/{piece.name}/{number}".encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype=np.uint64)))
    return generator.standard_normal((count, *piece.global_shape[1:]), dtype=np.float32)
