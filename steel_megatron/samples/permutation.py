"""A keyed permutation of [0, size) that needs no memory: the shuffle of one source in one epoch.

A Feistel network over two unequal halves (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002):
an index is a pair (low, high) with low < a and high < b, where a·b is the smallest such rectangle that covers the
size. Each round adds a hash of one half to the other, modulo that half's range, which can be undone and so keeps the
map one-to-one. A value that falls outside the size is mapped again (cycle walking); the rectangle exceeds the size by
less than its square root, so this is rare for large sizes and takes a few turns at most for tiny ones.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8
MASK = (1 << 64) - 1
# Finaliser of splitmix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
MULTIPLIER_1 = 0xBF58476D1CE4E5B9
MULTIPLIER_2 = 0x94D049BB133111EB


class Permutation:
    """The permutation of ``[0, size)`` that belongs to a key.

    Args:
        size: number of elements, 1 to 2^48.
        key: any text; different texts give unrelated permutations, on every machine the same.
    """

    def __init__(self, size: int, key: str) -> None:
        if not 1 <= size <= 1 << 48:
            raise ValueError(f"a permutation of {size} elements: the size is from 1 to 2^48")
        self.size = size
        self.low_range = math.isqrt(size - 1) + 1
        self.high_range = -(-size // self.low_range)
        digest = hashlib.blake2b(key.encode(), digest_size=8 * ROUNDS).digest()
        self.round_keys = [int.from_bytes(digest[8 * i : 8 * i + 8], "little") for i in range(ROUNDS)]

    def at(self, index: int) -> int:
        """Where ``index`` goes."""
        if not 0 <= index < self.size:
            raise IndexError(f"index {index} of a permutation of {self.size}")
        while True:
            index = self._turn(index)
            if index < self.size:
                return index

    def at_many(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """:meth:`at` of each index."""
        values = np.asarray(indices).astype(np.uint64)
        if values.size and int(values.max()) >= self.size:
            raise IndexError(f"index {int(values.max())} of a permutation of {self.size}")
        outside = np.arange(values.size)
        while outside.size:
            values[outside] = self._turn_many(values[outside])
            outside = outside[values[outside] >= np.uint64(self.size)]
        return values.astype(np.int64)

    def _turn(self, index: int) -> int:
        high, low = divmod(index, self.low_range)
        for i in range(0, ROUNDS, 2):
            low = (low + _hash(high, self.round_keys[i])) % self.low_range
            high = (high + _hash(low, self.round_keys[i + 1])) % self.high_range
        return high * self.low_range + low

    def _turn_many(self, indices: NDArray[np.uint64]) -> NDArray[np.uint64]:
        low_range, high_range = np.uint64(self.low_range), np.uint64(self.high_range)
        high, low = np.divmod(indices, low_range)
        for i in range(0, ROUNDS, 2):
            low = (low + _hash_many(high, self.round_keys[i])) % low_range
            high = (high + _hash_many(low, self.round_keys[i + 1])) % high_range
        return high * low_range + low


def _hash(value: int, key: int) -> int:
    """63 bits: adding a half to them cannot wrap around 2^64, which would make a round map two values to one."""
    value = (value + key) & MASK
    value = ((value ^ (value >> 30)) * MULTIPLIER_1) & MASK
    value = ((value ^ (value >> 27)) * MULTIPLIER_2) & MASK
    return (value ^ (value >> 31)) >> 1


def _hash_many(values: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """:func:`_hash` of each value; array arithmetic in uint64 is modulo 2^64."""
    values = values + np.uint64(key)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(MULTIPLIER_1)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(MULTIPLIER_2)
    return (values ^ (values >> np.uint64(31))) >> np.uint64(1)
