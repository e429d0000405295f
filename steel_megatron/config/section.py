"""What the sections of a run's configuration have in common: they do not change, and nothing in them does."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """Knobs that belong together. Another value is had by :meth:`RunConfig.replace` or ``dataclasses.replace``."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
