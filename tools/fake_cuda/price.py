"""What the operations of a trace cost on a card: a model of roofs, with every assumption in this file.

Each operation has two prices. At the roofs: products, attention's too, at what large matmuls reach, and bytes at what a
copy reaches. What is expected has attention at what published kernels reach, which no roof says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fake_cuda.cards import Card
from fake_cuda.recorder import ATTENTION, MATMUL, Operation
from fake_cuda.traffic import ADDED_8BIT

# A kernel that does next to nothing takes this long beside its neighbours (estimate).
LAUNCH_SECONDS = 3e-6


@dataclass
class Cost:
    """Sums over operations of one kind."""

    count: float = 0.0
    flops: float = 0.0
    moved: float = 0.0  # bytes
    seconds: float = 0.0  # at the roofs
    expected_seconds: float = 0.0

    def add(self, other: Cost, times: float = 1.0) -> None:
        self.count += times * other.count
        self.flops += times * other.flops
        self.moved += times * other.moved
        self.seconds += times * other.seconds
        self.expected_seconds += times * other.expected_seconds


@dataclass
class Costs:
    """Of a whole step or a part of it: by kind, and by (kind, operation)."""

    kinds: dict[str, Cost] = field(default_factory=dict)
    operations: dict[tuple[str, str], Cost] = field(default_factory=dict)

    @classmethod
    def of(cls, operations: Iterable[Operation], card: Card) -> Costs:
        costs = cls()
        for operation in operations:
            priced = seconds(operation, card), expected_seconds(operation, card)
            cost = Cost(1, operation.flops, operation.moved, *priced)
            costs.kinds.setdefault(operation.kind, Cost()).add(cost)
            costs.operations.setdefault((operation.kind, operation.name), Cost()).add(cost)
        return costs

    def add(self, other: Costs, times: float = 1.0) -> None:
        for kind, cost in other.kinds.items():
            self.kinds.setdefault(kind, Cost()).add(cost, times)
        for key, cost in other.operations.items():
            self.operations.setdefault(key, Cost()).add(cost, times)

    def scaled(self, times: float) -> Costs:
        scaled = Costs()
        scaled.add(self, times)
        return scaled.without_empty()

    def without_empty(self) -> Costs:
        """Without what differences have brought to nothing."""
        kept = Costs()
        kept.kinds = {key: cost for key, cost in self.kinds.items() if abs(cost.count) > 0.01}
        kept.operations = {key: cost for key, cost in self.operations.items() if abs(cost.count) > 0.01}
        return kept

    @property
    def seconds(self) -> float:
        """At the roofs."""
        return sum(cost.seconds for cost in self.kinds.values())

    @property
    def expected_seconds(self) -> float:
        """With attention at what published kernels reach."""
        return sum(cost.expected_seconds for cost in self.kinds.values())


def seconds(operation: Operation, card: Card) -> float:
    """Time of one operation alone on the card, at the card's roofs.

    A matmul runs at the roof, and no faster than its matrices come; what it adds to an fp32 matrix in place is read
    and written beside that. So does attention. All else runs at the bandwidth.
    """
    if operation.kind in (MATMUL, ATTENTION):
        eight_bit = operation.name.startswith(("aten._scaled_mm", ADDED_8BIT))
        roof = card.matmul_8bit if eight_bit else card.matmul
        plain = max(operation.flops / roof, (operation.moved - operation.accumulated) / card.bandwidth)
        return max(plain + operation.accumulated / card.bandwidth, LAUNCH_SECONDS)
    return max(operation.moved / card.bandwidth, LAUNCH_SECONDS)


def expected_seconds(operation: Operation, card: Card) -> float:
    """The same, with attention at the share of the peak that a published kernel reaches."""
    if operation.kind != ATTENTION:
        return seconds(operation, card)
    kernel = "cudnn" if "cudnn" in operation.name else "flash2"
    share = card.attention[kernel][operation.phase == "backward"]
    return max(operation.flops / (share * card.peak), operation.moved / card.bandwidth, LAUNCH_SECONDS)
