"""A value as a file, a flag or a program gives it → the knob's type, in its range and of its choices."""

from __future__ import annotations

from typing import Any

from steel_megatron.config.errors import ConfigError, nearest
from steel_megatron.config.knob import Knob
from steel_megatron.config.ranges import check_range, fix_of, parse_number
from steel_megatron.config.registry import Registry


def convert(knob: Knob, value: Any, where: str) -> Any:
    """A value in the knob's type; YAML's ``3e-4`` (a string there) and whole floats for counts are taken."""
    if value is None:
        if knob.optional:
            return None
        raise ConfigError(f"{where} is empty", rule=f"{knob.name} takes {_wanted(knob)}")
    if knob.is_list:
        whole = isinstance(knob.choices, Registry) and knob.choices.takes_parameters  # which may have spaces
        items = value.split() if isinstance(value, str) and not whole else value
        if not isinstance(items, (list, tuple)):
            items = [items]
        return tuple(_convert_one(knob, item, where) for item in items)
    return _convert_one(knob, value, where)


def _convert_one(knob: Knob, value: Any, where: str) -> Any:
    if isinstance(knob.choices, Registry):
        return knob.choices.spelled(value, where)
    if knob.kind is str:
        converted: Any = str(value)
        if isinstance(value, (dict, list)):
            raise ConfigError(f"{where} is {value!r}", rule=f"{knob.name} takes {_wanted(knob)}")
        if knob.choices and converted not in knob.choices:
            raise ConfigError(
                f"{where} is {converted!r}",
                rule=f"{knob.name} is one of {', '.join(knob.choices)}",
                fix=nearest(converted, knob.choices),
            )
        return converted
    given = f"{where} {value}" if where.startswith("--") else f"{where} is {value!r}"
    if knob.kind is bool:
        if isinstance(value, bool):
            return value
        raise ConfigError(given, rule=f"{knob.name} takes {_wanted(knob)}", fix=fix_of(_plain(knob.default)))
    try:
        number = parse_number(knob.kind, value)
    except ValueError:
        raise ConfigError(given, rule=f"{knob.name} takes {_wanted(knob)}", fix=fix_of(knob.default)) from None
    check_range(given, number, knob.range, fix_of(knob.default))
    return number


def _plain(default: Any) -> Any:
    return str(default).lower() if isinstance(default, bool) else default


def _wanted(knob: Knob) -> str:
    kind = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[knob.kind]
    if knob.choices:
        kind = f"one of {', '.join(knob.choices)}"
    kind = (f"a list: {kind} each" if knob.is_list else kind) + (f" of {knob.unit}" if knob.unit else "")
    return kind if knob.allowed is None else f"{kind}, {knob.allowed}"
