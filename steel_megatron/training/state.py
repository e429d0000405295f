"""Where a run stands: the numbers that a checkpoint must bring back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class RunState:
    """Progress of a run, the same on every rank and on every layout."""

    step: int = 0  # optimizer steps done
    consumed_samples: int = 0  # samples of the run's data order used so far
    consumed_tokens: int = 0

    def to_dict(self) -> dict[str, int]:
        return asdict(self)

    def load(self, saved: dict[str, Any]) -> None:
        self.step = int(saved["step"])
        self.consumed_samples = int(saved["consumed_samples"])
        self.consumed_tokens = int(saved["consumed_tokens"])
