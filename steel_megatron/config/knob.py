"""A knob is a dataclass field with its help, unit and choices: the flag, the YAML key and the docs come from it."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from steel_megatron.config.ranges import Range
from steel_megatron.config.registry import Registry

# What becomes of a knob when a run takes up a checkpoint that was made with another value.
FIXED = "fixed"  # refused: the weights have no place in the model
MODEL = "model"  # refused unless --override-checkpoint-model: the same weights compute something else
TOLD = "told"  # the change is told, also to a run that takes only the weights
LISTED = "listed"  # the change is told to a run that continues
UNSAID = "unsaid"  # of one start only, so that a change means nothing


@dataclasses.dataclass(frozen=True)
class Follows:
    """A default that follows from other knobs of its section, and is worked out when the section is made.

    Args:
        words: what it comes to, for ``--help`` and the docs.
        rule: the section → the value.
    """

    words: str
    rule: Callable[[Any], Any]

    def __str__(self) -> str:
        return self.words


def knob(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    choices: tuple[str, ...] | Registry[Any] = (),
    allowed: Range | None = None,
    changed: str = LISTED,
    adds: bool = False,
    shape: bool = False,
) -> Any:
    """Declares a configuration field.

    Args:
        default: its default, or how it :class:`Follows` from others; that of a list is a tuple.
        doc: one sentence for ``--help`` and the docs.
        unit: what a number counts ("tokens", "steps", "minutes"), if not plain.
        choices: the values allowed, for strings; of a registry, also what is given from outside.
        allowed: the values allowed, for numbers, which all have a range; of each item for lists of numbers.
        changed: ``FIXED``, ``MODEL``, ``TOLD``, ``LISTED`` or ``UNSAID``.
        adds: a list whose flag may be given several times, each adding to it.
        shape: a size of the model, which ``steel verify`` makes small.
    """
    metadata = {"doc": doc, "unit": unit, "choices": choices, "allowed": allowed, "changed": changed, "adds": adds}
    return dataclasses.field(default=default, metadata={**metadata, "shape": shape})


@dataclasses.dataclass(frozen=True)
class Knob:
    """One field of one section, with its type taken apart."""

    section: str
    name: str
    kind: type  # int, float, str or bool: the type of the value, or of each item
    is_list: bool
    optional: bool
    default: Any
    doc: str
    unit: str
    choices: tuple[str, ...] | Registry[Any]
    allowed: Range | None
    changed: str
    adds: bool
    shape: bool

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def default_words(self) -> str:
        """The default as it is given: the items of a list apart."""
        return " ".join(map(str, self.default)) if isinstance(self.default, tuple) else str(self.default)

    @property
    def range(self) -> Range:
        """Of a number.

        Raises:
            TypeError: it is not declared.
        """
        if self.allowed is None:
            raise TypeError(f"{self.name} is a number: its declaration says which are allowed (allowed=...)")
        return self.allowed


def knobs_of(section: str, cls: type) -> Iterator[Knob]:
    """The knobs of a section's dataclass, in the order of declaration."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        members = [hint]
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
            members = [member for member in typing.get_args(hint) if member is not type(None)]
        is_list = typing.get_origin(members[0]) is tuple
        kind = typing.get_args(members[0])[0] if is_list else members[0]
        choices = field.metadata["choices"]
        if typing.get_origin(kind) is typing.Literal:
            choices, kind = typing.get_args(kind), str
        yield Knob(
            section=section,
            name=field.name,
            kind=kind,
            is_list=is_list,
            optional=type(None) in typing.get_args(hint),
            default=field.default,
            **{**field.metadata, "choices": choices},
        )
