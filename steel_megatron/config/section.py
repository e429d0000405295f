"""What the sections of a run's configuration have in common: they do not change, and nothing in them does."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from steel_megatron.config.knob import Follows


@dataclass(frozen=True)
class Section:
    """Knobs that belong together, all with a value: what is not given has its default, or what follows from others.

    Another value is had by :meth:`RunConfig.replace` or ``dataclasses.replace``, which leave what followed as it is.
    """

    def __post_init__(self) -> None:
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name, value in given.items():
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        for name, value in given.items():
            if isinstance(value, Follows):
                object.__setattr__(self, name, value.rule(self))
