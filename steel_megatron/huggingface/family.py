"""What a Hugging Face family is: its names for our parameters, its options, and what it has not.

A family is a set of rules on :class:`ModelConfig`. A model is exported to the one family whose rules it meets; what no
family has is refused by name, because an export that computes something else would be worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from steel_megatron.config import ConfigError, ModelConfig
from steel_megatron.config.layer_types import DENSE, FULL

Options = Mapping[str, Any]  # the content of a config.json


@dataclass(frozen=True)
class Rule:
    """What a family asks of one option."""

    option: str
    wanted: str
    holds: Callable[[ModelConfig], bool]

    @classmethod
    def one_of(cls, option: str, *values: Any) -> Rule:
        """The option has one of these values."""
        wanted = " or ".join(str(value) for value in values)
        return cls(option, wanted, lambda model: getattr(model, option) in values)


WHOLE_LENGTH = Rule("layer_types", f"{FULL} in every layer", lambda model: set(model.attention_kinds) == {FULL})
DENSE_LAYERS = Rule(
    "mlp_layer_types", f"{DENSE} in every layer", lambda model: set(model.feed_forward_kinds) == {DENSE}
)


@dataclass(frozen=True)
class Place:
    """Where a parameter of ours stands in a state dict.

    ``transpose``: stored as (in, out), as GPT-2's Conv1D does. ``part`` = (k, n): it is the k-th of n equal parts of
    the tensor along its output dimension.
    """

    name: str
    transpose: bool = False
    part: tuple[int, int] = (0, 1)


class Family:
    """A model class of ``transformers``, for which a file of ``families/`` has an object of a subclass.

    ``prefix`` is what the names of its base model begin with, ``ignored`` the endings of entries of its state dict that
    are no parameters. ``places`` maps our names without ``.weight`` and ``.bias`` to its own; ``*`` is the layer's
    number in both.
    """

    name: str
    model_type: str
    architecture: str
    prefix: str
    places: Mapping[str, Place]
    rules: tuple[Rule, ...]
    ignored: tuple[str, ...] = ()

    def place(self, parameter: str) -> Place | None:
        """The place of a parameter that is named in our words ("blocks.3.attention.query.weight"), if it has one."""
        stem, kind = parameter.rsplit(".", 1)
        layer = re.search(r"\.(\d+)\.", stem)
        found = self.places.get(stem if layer is None else stem.replace(layer[0], ".*.", 1))
        if found is None:
            return None
        name = found.name if layer is None else found.name.replace("*", layer[1])
        return Place(f"{name}.{kind}", found.transpose and kind == "weight", found.part)

    def broken_rules(self, model: ModelConfig) -> list[Rule]:
        """The rules that the model does not meet."""
        return [rule for rule in self.rules if not rule.holds(model)]

    def write(self, model: ModelConfig) -> dict[str, Any]:
        """Its own part of config.json, in the spelling of transformers 4.51 and of 5 at once."""
        raise NotImplementedError

    def read(self, options: Options) -> dict[str, Any]:
        """The model's options here from its own part of config.json: knob → value.

        Raises:
            ConfigError: an option that :class:`ModelConfig` has not.
        """
        raise NotImplementedError

    def refuse(self, options: Options, **wanted: Any) -> None:
        """Refuses options that have another value than the one that our model knows."""
        for name, value in wanted.items():
            if options[name] != value:
                raise ConfigError(f"{self.name} with {name} {options[name]}", rule=f"only {name} {value} is converted")


def named(ours: str, table: Mapping[str, str]) -> str:
    """The first of a family's names for one of our values; ``table`` maps its names to ours."""
    return next(key for key, value in table.items() if value == ours)


def known(options: Options, name: str, table: Mapping[str, str]) -> str:
    """Our value for an option; ``table`` as in :func:`named`.

    Raises:
        ConfigError: it is none of the table's.
    """
    value = options[name]
    if value not in table:
        raise ConfigError(f"{name} {value!r}", rule=f"{name} is one of {', '.join(table)}")
    return table[value]
