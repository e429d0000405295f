"""Where phases come from: the flag ``--data-path`` and the YAML file of ``--phases``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from steel_megatron.config import ConfigError, exact_number, nearest, parse_yaml, read_text
from steel_megatron.samples.mixing.phase_drafts import AMOUNTS, Amount, PhaseDraft
from steel_megatron.samples.mixing.phases import check_starts, exact_weight

PHASE_KEYS = ("from", "from_tokens", "until", "until_tokens", "ramp", "ramp_tokens", "sources")
SOURCE_KEYS = ("path", *AMOUNTS)


def parse_data_path(
    words: Sequence[str], flag: str = "--data-path"
) -> tuple[dict[str, str], dict[str, Fraction] | None]:
    """``PREFIX``, ``PREFIX PREFIX …`` or ``WEIGHT PREFIX WEIGHT PREFIX …``.

    Returns:
        source name → path prefix, and source name → weight or None when no weights are given. A source is named by the
        last part of its prefix.
    """
    numeric = [_is_number(word) for word in words]
    if not words:
        raise ConfigError(f"{flag} is empty", rule="it takes a dataset prefix, or weights and prefixes in turn")
    if any(numeric):
        if len(words) % 2 or not all(numeric[::2]) or any(numeric[1::2]):
            raise ConfigError(
                f"{flag} {' '.join(words)}",
                rule="weights, where given, stand before each prefix: WEIGHT PREFIX WEIGHT PREFIX …",
                fix="give every prefix a weight, or none",
            )
        prefixes, weights = list(words[1::2]), list(words[::2])
    else:
        prefixes, weights = list(words), []
    names = [Path(prefix).name for prefix in prefixes]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(
            f"{flag} has two sources named {repeated[0]!r}",
            rule="a source is known by its name, here the last part of its prefix",
            fix="name the sources yourself in a --phases file, or rename the files",
        )
    paths = dict(zip(names, prefixes, strict=True))
    if not weights:
        return paths, None
    return paths, {name: exact_weight(weight, name) for name, weight in zip(names, weights, strict=True)}


def read_phases(path: Path, seq_length: int) -> tuple[list[PhaseDraft], dict[str, str]]:
    """Reads a phases file.

    Args:
        path: YAML, a list of ``{from: SAMPLE, sources: {NAME: {path: PREFIX, weight: WEIGHT}}}``; instead of
            ``weight`` a source may have ``epochs`` or ``tokens``, and a phase may have ``until`` and ``ramp``. Samples
            may be given as tokens (``from_tokens`` and so on). A source whose path an earlier phase has given may be
            written ``NAME: WEIGHT``. Relative paths are taken from the file's folder.
        seq_length: tokens of a sample; a phase from a token begins with the first sample that begins at it or later.

    Returns:
        The phases, and source name → path prefix.

    Raises:
        ConfigError: what is wrong with the file, and in which phase.
    """
    if not path.is_file():
        raise ConfigError(f"no phases file {path}", fix="check the path given to --phases")
    return parse_phases(read_text(path), path, seq_length)


def parse_phases(text: str, path: Path, seq_length: int) -> tuple[list[PhaseDraft], dict[str, str]]:
    """:func:`read_phases` of a text that is or will be the content of ``path``."""
    tree = load_tree(text, path)
    phases: list[PhaseDraft] = []
    paths: dict[str, str] = {}
    for number, entry in enumerate(tree, start=1):
        where = f"{path}: phase {number}"
        _check_mapping(entry, where, PHASE_KEYS)
        amounts = {}
        sources = entry.get("sources")
        if not isinstance(sources, dict) or not sources:
            raise ConfigError(f"{where}: sources are {_kind(sources)}", rule="sources are a mapping of names")
        for name, source in sources.items():
            amounts[str(name)] = _read_source(str(name), source, where, path.parent, paths)
        start = _read_samples(entry, "from", where, seq_length)
        if start is None and number > 1:
            raise ConfigError(f"{where} has no start", rule="every phase but the first says 'from' or 'from_tokens'")
        until = _read_samples(entry, "until", where, seq_length)
        ramp = _read_samples(entry, "ramp", where, seq_length)
        phases.append(PhaseDraft(start or 0, amounts, until, ramp or 0))
    check_starts([phase.start for phase in phases])
    return phases, paths


def load_tree(text: str, path: Path) -> list[Any]:
    """The YAML of a phases file; ``path`` is named in errors."""
    tree = parse_yaml(text, path)
    if not isinstance(tree, list) or not tree:
        raise ConfigError(f"{path} holds {_kind(tree)}", rule="a phases file is a list of phases")
    return tree


def _read_samples(entry: dict[str, Any], key: str, where: str, seq_length: int) -> int | None:
    """The number under ``key``, or the whole samples that the tokens under ``key_tokens`` need."""
    given = [name for name in (key, f"{key}_tokens") if name in entry]
    if len(given) == 2:
        raise ConfigError(f"{where} has '{key}' and '{key}_tokens'", rule=f"'{key}' is given once")
    if not given:
        return None
    value = entry[given[0]]
    try:
        number_given = exact_number(str(value))
    except ValueError:
        number_given = Fraction(-1)
    if isinstance(value, bool) or number_given < 0 or number_given.denominator != 1:
        raise ConfigError(f"{where}: {given[0]} is {value!r}", rule="it is a whole number, 0 or above")
    return int(number_given) if given[0] == key else math.ceil(number_given / seq_length)


def _read_source(name: str, source: Any, where: str, folder: Path, paths: dict[str, str]) -> Amount:
    if not isinstance(source, dict):
        source = {"weight": source}
    _check_mapping(source, f"{where}, source {name!r}", SOURCE_KEYS)
    kinds = [kind for kind in AMOUNTS if kind in source]
    if not kinds:
        raise ConfigError(f"{where}: source {name!r} has no weight", fix=f"write {name}: {{path: …, weight: …}}")
    if len(kinds) > 1:
        raise ConfigError(
            f"{where}: source {name!r} has {' and '.join(kinds)}", rule="a source has a weight, epochs or tokens"
        )
    amount = source[kinds[0]]
    if source.get("path") is not None:
        resolved = str(folder / str(source["path"]))
        if paths.setdefault(name, resolved) != resolved:
            raise ConfigError(
                f"{where}: source {name!r} is {resolved}, in an earlier phase {paths[name]}",
                rule="a name stands for one dataset over the whole run",
                fix="give the second dataset another name",
            )
    if name not in paths:
        raise ConfigError(
            f"{where}: source {name!r} has no path",
            rule="the first phase that uses a source gives its path",
            fix=nearest(name, paths) or f"write {name}: {{path: PREFIX, {kinds[0]}: {amount}}}",
        )
    return Amount(kinds[0], exact_weight(amount, name, kinds[0]))


def _check_mapping(entry: Any, where: str, known: Iterable[str]) -> None:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} is {_kind(entry)}", rule=f"it is a mapping with the keys {', '.join(known)}")
    for key in entry:
        if key not in known:
            raise ConfigError(
                f"{where}: unknown key {key!r}", fix=nearest(str(key), known) or f"use {', '.join(known)}"
            )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _kind(value: Any) -> str:
    return "nothing" if value is None or value in ([], {}) else f"{value!r:.60}"
