"""What each compiled kernel is called with; the libraries tell it themselves, from csrc/ops/declarations.h."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from torch import Tensor


class Kind(Enum):
    """What a parameter is in C."""

    POINTER = "pointer"
    INTEGER = "int64_t"
    DOUBLE = "double"


class Address(int):
    """The address of a tensor whose strides are given as well, so that it need not be contiguous."""


Argument = Tensor | Address | int | float | None
_IN_WORDS = {
    Kind.POINTER: "a tensor, an Address or None",
    Kind.INTEGER: "an integer",
    Kind.DOUBLE: "a number",
}


@dataclass(frozen=True)
class Signature:
    """A kernel's name and its parameters, (kind, name) of each, without the last: threads or stream."""

    name: str
    parameters: tuple[tuple[Kind, str], ...]

    def values(self, arguments: tuple[Argument, ...]) -> list[int | float]:
        """The numbers to pass: tensors by their address, None as a null pointer.

        Raises:
            TypeError: the arguments are too few, too many, or one is of the wrong kind.
        """
        if len(arguments) != len(self.parameters):
            raise TypeError(f"{self.name} takes {len(self.parameters)} arguments and was given {len(arguments)}")
        return [self._value(*parameter, a) for parameter, a in zip(self.parameters, arguments, strict=True)]

    def _value(self, kind: Kind, name: str, argument: Argument) -> int | float:
        if not _fits(kind, argument):
            raise TypeError(f"{self.name}: {name} is {type(argument).__name__}, it must be {_IN_WORDS[kind]}")
        if isinstance(argument, Tensor):
            return argument.data_ptr()
        return 0 if argument is None else argument


def _fits(kind: Kind, argument: Argument) -> bool:
    if argument is None or isinstance(argument, (Tensor, Address)):
        return kind is Kind.POINTER
    return (isinstance(argument, int) and kind is not Kind.POINTER) or (
        isinstance(argument, float) and kind is Kind.DOUBLE
    )


def parse(text: str) -> dict[str, Signature]:
    """The signatures that a library tells, one ``name(type parameter, …)`` a line, by name."""
    return {signature.name: signature for signature in map(_signature, text.split("\n")[:-1])}


def _signature(line: str) -> Signature:
    name, parameters = re.fullmatch(r"(\w+)\((.*)\)", line).groups()  # type: ignore[union-attr]
    return Signature(name, tuple(_parameter(parameter) for parameter in parameters.split(",")))


def _parameter(text: str) -> tuple[Kind, str]:
    type_, _, name = text.strip().rpartition(" ")
    return Kind.POINTER if type_.endswith("*") else Kind(type_), name
