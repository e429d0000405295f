"""Command-line flags, made from the knobs, under Megatron-LM's names."""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from steel_megatron.config.errors import ConfigError, nearest
from steel_megatron.config.knob import Knob
from steel_megatron.config.ranges import Number, fix_of
from steel_megatron.config.registry import Registry
from steel_megatron.config.run import KNOBS, SECTIONS

# Megatron-LM's spellings of values that are knobs of another name here.
ALIASES: dict[str, tuple[str, Any, str]] = {
    "--swiglu": ("activation", "swiglu", "Same as --activation swiglu."),
    "--squared-relu": ("activation", "squared_relu", "Same as --activation squared_relu."),
    "--disable-bias-linear": ("add_bias_linear", False, "Same as --no-add-bias-linear."),
    "--use-rotary-position-embeddings": ("position_embedding_type", "rope", "Same as --position-embedding-type rope."),
    "--bf16": ("precision", "bf16", "Same as --precision bf16."),
    "--fp16": ("precision", "fp16", "Same as --precision fp16."),
    "--fp32": ("precision", "fp32", "Same as --precision fp32."),
    "--recompute-activations": ("recompute_granularity", "selective", "Same as --recompute-granularity selective."),
}

# What begins with a dash and is a value: -5, -1e-3, -1G, -1/3, -1:4, -inf. No flag looks like one of them.
_NEGATIVE = re.compile(r"-(\.?\d|(inf(inity)?|nan)$)", re.IGNORECASE)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are :class:`ConfigError` and whose flags may be spelled with underscores."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = _NEGATIVE  # argparse's own knows plain numbers alone

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{self.prog}: {message}", fix=f"see '{self.prog} --help'")

    def parse_args(  # type: ignore[override]  # argparse's has an overload per kind of namespace
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Like argparse's, but an unknown flag names the nearest known one."""
        words = sys.argv[1:] if args is None else args
        known, unknown = self.parse_known_args(dashed(words), namespace)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            raise ConfigError(
                f"{self.prog}: unknown argument {unknown[0]!r}",
                fix=nearest(unknown[0].split("=")[0], flags) or f"see '{self.prog} --help'",
            )
        return known


def dashed(argv: Iterable[str]) -> list[str]:
    """Flags with dashes for underscores; values are left as they are."""
    words: list[str] = []
    for word in argv:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            words.append(name.replace("_", "-") + equals + value)
        else:
            words.append(word)
    return words


def add_run_flags(parser: argparse.ArgumentParser, sections: Iterable[str] = tuple(SECTIONS)) -> None:
    """Adds ``--config``, ``--preset`` and a flag for every knob of the sections, grouped as the sections are.

    Flags that are not given leave no attribute, so that they override the YAML file only when given.
    """
    start = parser.add_argument_group("configuration")
    start.add_argument("--config", metavar="YAML", help="Run file; flags override it.")
    start.add_argument(
        "--preset", metavar="NAME", help="Model preset (steel plan --list names them); the run file overrides it."
    )
    wanted = set(sections)
    for section in SECTIONS:
        if section not in wanted:
            continue
        group = parser.add_argument_group(section, (SECTIONS[section].__doc__ or "").splitlines()[0])
        for knob in KNOBS.values():
            if knob.section == section:
                _add_knob(group, knob)
        for flag, (name, value, text) in ALIASES.items():
            if KNOBS[name].section == section:
                group.add_argument(
                    flag, dest=name, action="store_const", const=value, default=argparse.SUPPRESS, help=text
                )


def _add_knob(group: argparse._ArgumentGroup, knob: Knob) -> None:
    number = knob.kind in (int, float)
    notes = [note for note in (knob.unit, str(knob.range) if number else "") if note]
    text = knob.doc + (f" [{'; '.join(notes)}]" if notes else "")
    if isinstance(knob.choices, Registry):
        text += f" [{', '.join(knob.choices.shipped)}, package.module:Name or path.py:Name]"
    if knob.default is not None:
        text += f" (default: {knob.default_words})"
    common: dict[str, Any] = {"dest": knob.name, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
    kind: Callable[[str], Any] = knob.kind
    if number:
        kind = Number(knob.flag, knob.kind, knob.range, fix_of(knob.default))
    elif isinstance(knob.choices, Registry):
        kind = functools.partial(knob.choices.spelled, where=knob.flag)
    if knob.kind is bool:
        negated = knob.name.startswith("no_")
        action = "store_true" if negated else argparse.BooleanOptionalAction
        group.add_argument(knob.flag, action=action, **common)
    elif knob.is_list:
        action = "extend" if knob.adds else "store"
        metavar = knob.name.upper().split("_")[-1]
        group.add_argument(knob.flag, action=action, nargs="+", type=kind, metavar=metavar, **common)
    elif knob.choices and not isinstance(knob.choices, Registry):
        group.add_argument(knob.flag, choices=knob.choices, **common)
    else:
        group.add_argument(knob.flag, type=kind, metavar=knob.kind.__name__.upper(), **common)
