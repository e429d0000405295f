"""Which source each sample belongs to, by arithmetic alone.

The sources are the leaves of a binary tree. A node hands the m-th of its samples to its left or right child so that
after m samples the left child has had

    left(m) = floor(m · p + 1/2),   p = weight of the left child / weight of the node,

which rises by 0 or 1 with each sample (a Beatty sequence), so the number of samples that a source had among the
first n follows from one multiplication per level, without walking over samples. p is a whole number of 2^-64, so all
of it is integer arithmetic.

Bound. Let x_v be the count of node v among the first n samples, minus its share w_v of n. A left child has
x_l = p · x_v + δ with |δ| ≤ 1/2, and so has a right child (with 1 - p and -δ); the root has x = 0. Along the path
v_0, v_1, … from a leaf v_0 up to the child of the root, therefore

    |x_leaf| ≤ 1/2 · (1 + w_0/w_1 + w_0/w_2 + …).

The tree is Huffman's. When v_i was joined with its sibling the two were the lightest there, so the sibling of v_(i+1)
weighs at least w_i, and w_(i+2) ≥ w_(i+1) + w_i: weights grow at least like Fibonacci's numbers towards the root. The
sum is below 1 + 1 + 1/2 + 1/3 + 1/5 + … = 3.3599 (the sum of their reciprocals), and **every source stays within 1.68
samples of its weight at every n, whatever the weights and however many sources**. With two sources it is 1/2.
Rounding p to 2^-64 adds less than n · 2^-62 to that: for n up to 2^56, less than 0.02, hence ``BOUND``.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

BOUND = 1.7
ONE = 1 << 64
HALF = 1 << 63


@dataclass(frozen=True)
class Node:
    """A split in two; a child is a node or a source's number."""

    left_share: int  # in units of 2^-64
    left: Node | int
    right: Node | int


class Mixture:
    """Interleaves sources in proportion to their weights.

    Args:
        weights: source → positive weight; the scale and the order of the mapping do not matter.
    """

    def __init__(self, weights: Mapping[str, Fraction]) -> None:
        if not weights or min(weights.values()) <= 0:
            raise ValueError(f"weights are above 0, of one source or more: {dict(weights)}")
        self.names = sorted(weights)
        ties = itertools.count()
        heap: list[tuple[Fraction, int, Node | int]] = [
            (Fraction(weights[name]), next(ties), number) for number, name in enumerate(self.names)
        ]
        heapq.heapify(heap)
        while len(heap) > 1:
            light, heavy = heapq.heappop(heap), heapq.heappop(heap)
            weight = light[0] + heavy[0]
            share = min(max(round(heavy[0] / weight * ONE), 1), ONE - 1)
            heapq.heappush(heap, (weight, next(ties), Node(share, heavy[2], light[2])))
        self.root = heap[0][2]

    def at(self, sample: int) -> tuple[str, int]:
        """The source of a sample, and how many samples that source had before it."""
        node, sample = self.root, int(sample)
        while isinstance(node, Node):
            before = (sample * node.left_share + HALF) >> 64
            if ((sample + 1) * node.left_share + HALF) >> 64 > before:
                node, sample = node.left, before
            else:
                node, sample = node.right, sample - before
        return self.names[node], sample

    def counts(self, samples: int) -> dict[str, int]:
        """How many of the first ``samples`` samples each source has."""
        found = {}
        open_nodes = [(self.root, int(samples))]
        while open_nodes:
            node, count = open_nodes.pop()
            if isinstance(node, Node):
                left = (count * node.left_share + HALF) >> 64
                open_nodes += [(node.left, left), (node.right, count - left)]
            else:
                found[self.names[node]] = count
        return found

    def at_many(self, samples: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """:meth:`at` of each sample; sources as numbers into ``names``."""
        sources = np.empty(len(samples), np.int64)
        earlier = np.empty(len(samples), np.int64)
        open_nodes = [(self.root, np.arange(len(samples)), np.asarray(samples).astype(np.uint64))]
        while open_nodes:
            node, places, counts = open_nodes.pop()
            if not len(places):
                continue
            if isinstance(node, Node):
                before, goes_left = _split_many(counts, node.left_share)
                open_nodes.append((node.left, places[goes_left], before[goes_left]))
                open_nodes.append((node.right, places[~goes_left], (counts - before)[~goes_left]))
            else:
                sources[places] = node
                earlier[places] = counts.astype(np.int64)
        return sources, earlier


def _split_many(counts: NDArray[np.uint64], share: int) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The left child's count before each sample, and whether the sample goes left.

    ``counts · share + 2^63`` has 128 bits: its upper half is the count, and adding ``share`` once more carries into
    it exactly when the sample goes left.
    """
    lower_32, by_32 = np.uint64(0xFFFFFFFF), np.uint64(32)
    counts_low, counts_high = counts & lower_32, counts >> by_32
    share_low, share_high = np.uint64(share & 0xFFFFFFFF), np.uint64(share >> 32)
    lowest = counts_low * share_low
    middle = counts_high * share_low + (lowest >> by_32)
    middle_2 = counts_low * share_high + (middle & lower_32)
    high = counts_high * share_high + (middle >> by_32) + (middle_2 >> by_32)
    low = counts * np.uint64(share)
    rounded = low + np.uint64(HALF)
    high += rounded < low
    return high, rounded + np.uint64(share) < rounded
