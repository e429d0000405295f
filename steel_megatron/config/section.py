"""What the sections of a run's configuration have in common: they do not change, and nothing in them does."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from steel_megatron.config.errors import ConfigError
from steel_megatron.config.knob import Follows, knobs_of
from steel_megatron.config.values import convert


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

    def check(self) -> None:
        """Refuses values of a wrong type or outside their range, however they were set, and what contradicts itself.

        Raises:
            ConfigError: with the values, the rule and the fix.
        """
        for knob in knobs_of("", type(self)):
            value = getattr(self, knob.name)
            if knob.kind is str and "" in (value if isinstance(value, tuple) else [value]):
                # An empty path would be the current folder.
                raise ConfigError(
                    f"{knob.flag} ''",
                    rule="what it names, a path or a name, is not empty",
                    fix="give one, or leave it out; a shell's variable that is not set is empty",
                )
            convert(knob, value, knob.flag)
