"""The range of a number: declared where the number is, checked before any work, told in help, docs and errors."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from steel_megatron.config.errors import ConfigError

LARGEST = 2**63 - 1  # of a whole number: what 64 bits hold


@dataclass(frozen=True)
class Range:
    """The values that a number may have; never NaN or infinite.

    Args:
        low, high: the ends, which belong to the range unless ``above_low`` or ``below_high`` is set; None: no end.
        zero: what 0 stands for where it is no amount: "never".
    """

    low: float | None = None
    high: float | None = None
    above_low: bool = False
    below_high: bool = False
    zero: str = ""

    def holds(self, value: float) -> bool:
        """Whether the value lies inside."""
        if isinstance(value, int) and abs(value) > LARGEST:
            return False
        if not math.isfinite(value):
            return False
        if self.low is not None and (value <= self.low if self.above_low else value < self.low):
            return False
        return self.high is None or (value < self.high if self.below_high else value <= self.high)

    def __str__(self) -> str:
        high = "" if self.high is None else f"{'below' if self.below_high else 'at most'} {plain(self.high)}"
        if self.low is None:
            words = high or "any finite number"
        elif self.above_low:
            words = f"above {plain(self.low)}" + (f" and {high}" if high else "")
        elif high and not self.below_high:
            words = f"{plain(self.low)} to {plain(self.high or 0)}"
        else:
            words = f"{plain(self.low)} or more" + (f" and {high}" if high else "")
        return words + (f"; 0: {self.zero}" if self.zero else "")


def at_least(low: float, *, most: float | None = None, zero: str = "") -> Range:
    """``low`` and what is above it, up to ``most`` if that is given."""
    return Range(low, most, zero=zero)


def above(low: float, *, most: float | None = None) -> Range:
    """Above ``low``, which does not belong to it, up to ``most`` if that is given."""
    return Range(low, most, above_low=True)


def share(*, zero: bool = True, one: bool = True) -> Range:
    """0 to 1, with or without its ends."""
    return Range(0.0, 1.0, above_low=not zero, below_high=not one)


COUNT = at_least(1)  # of things of which there is at least one
AMOUNT = at_least(0)
POSITIVE = above(0)
SIZE = at_least(1, most=2**24)  # of a model: no larger one can be built anywhere
LAYERS = at_least(1, most=100_000)
LENGTH = at_least(1, most=2**31 - 1)  # of a sample, in tokens
PROCESSES = at_least(1, most=1024)  # or threads: more of them is a slip
IDS = at_least(1, most=2**31 - 1)  # of a vocabulary: datasets hold ids of 32 bits
ID = at_least(0, most=2**31 - 2)


def parse_number(kind: type, value: Any) -> Any:
    """A number as people and YAML write it: ``3e-4`` is a text to YAML, ``1e9`` may stand for a whole number.

    Raises:
        ValueError: it is none of this kind (int or float).
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r} is no number")
    if kind is float:
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    number = float(value)
    if not math.isfinite(number) or number != int(number):
        raise ValueError(f"{value!r} is no whole number")
    return int(number)


_EXACT = re.compile(r"[+-]?(\d[\d_]*(\.\d*)?|\.\d+)(e[+-]?\d{1,2})?|[+-]?\d+/\d+", re.IGNORECASE)


def exact_number(text: str) -> Fraction:
    """The rational number that a text writes: ``0.1`` is one tenth; ``1/3`` and ``1e9`` are taken.

    Raises:
        ValueError: it is none, or one so large or small that exact arithmetic would never end (``1e99999999``).
    """
    text = text.strip()
    if len(text) > 1000 or not _EXACT.fullmatch(text):
        raise ValueError(f"{text!r} is no number")
    try:
        return Fraction(text.replace("_", ""))
    except ZeroDivisionError:
        raise ValueError(f"{text!r} is no number") from None


def check_range(given: str, value: float, allowed: Range, fix: str = "") -> None:
    """Raises :class:`ConfigError` for a value outside its range; ``given`` names it with the value."""
    if not allowed.holds(value):
        words = str(allowed)
        if abs(value) > LARGEST or math.isnan(value):
            words += f"; whole numbers are below 2^63 = {LARGEST + 1}" if isinstance(value, int) else "; it is finite"
        raise ConfigError(given, rule=f"the value is {words}", fix=fix or "give a value in this range")


@dataclass(frozen=True)
class Number:
    """argparse's ``type`` of an option that takes a number.

    Raises:
        ConfigError: no number of this kind, or one outside its range.
    """

    flag: str
    kind: type  # int or float
    range: Range
    fix: str = ""

    def __call__(self, text: str) -> Any:
        try:
            value = parse_number(self.kind, text)
        except ValueError:
            kind = "a whole number" if self.kind is int else "a number"
            raise ConfigError(
                f"{self.flag} {text}", rule=f"the value is {kind}, {self.range}", fix=self.fix or "give a number"
            ) from None
        check_range(f"{self.flag} {text}", value, self.range, self.fix)
        return value


@dataclass(frozen=True)
class Amount:
    """argparse's ``type`` of an option that takes a number with a unit behind it: ``4G``, ``1.5T``, ``500MB``.

    Args:
        parse: (text, flag) → the number; raises ConfigError.
    """

    flag: str
    parse: Callable[[str, str], float]
    range: Range

    def __call__(self, text: str) -> Any:
        try:
            value = self.parse(text, self.flag)
        except OverflowError:
            value = math.inf
        if value > LARGEST:
            raise ConfigError(f"{self.flag} {text}", rule=f"the value is {self.range}, below 2^63", fix="give less")
        check_range(f"{self.flag} {text}", value, self.range)
        return value


def add_number(
    group: argparse._ActionsContainer,
    flag: str,
    allowed: Range,
    text: str,
    *,
    kind: type = int,
    default: float | None = None,
    metavar: str = "N",
    fix: str = "",
    **other: Any,
) -> None:
    """Adds an option that takes a number, and says its range and default behind its help."""
    number = Number(flag, kind, allowed, fix or fix_of(default, optional=not other.get("required")))
    behind = str(allowed) if default is None else f"{allowed}; default: {plain(default)}"
    other = {"type": number, "default": default, "metavar": metavar, "help": f"{text} ({behind})", **other}
    group.add_argument(flag, **other)


def fix_of(default: Any, *, optional: bool = True) -> str:
    """What mends a wrong value, beside a right one."""
    if default is not None:
        return f"give a value in this range, or leave it out for the default, {default}"
    return "give a value in this range" + (", or leave it out" if optional else "")


def divisors(number: int) -> str:
    """The numbers that divide it, for errors."""
    return ", ".join(str(i) for i in range(1, number + 1) if number % i == 0)


def plain(number: float) -> str:
    """A number without a needless point: ``0``, ``2.5``, ``2147483647``."""
    return str(int(number)) if number == int(number) else repr(number)
