"""Reads data.yaml: the sources, what becomes of each, and the deduplication."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from steel_megatron.config import ConfigError, nearest

SOURCE_KEYS = ("corpus", "input", "recipe", "priority", "weight", "options", "licence")
DEDUP_KEYS = ("threshold", "memory", "evaluation_sets")


@dataclass(frozen=True)
class Source:
    """A corpus, or a part of one, that becomes one dataset."""

    name: str
    corpus: str
    inputs: tuple[str, ...]
    recipe: str | None = None
    priority: int = 0
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "not stated"


@dataclass(frozen=True)
class Dedup:
    """Settings of the one deduplication over all sources."""

    threshold: float | None = None
    memory: str = "4G"
    evaluation_sets: Mapping[str, str] = field(default_factory=dict)

    @property
    def sets_there(self) -> dict[str, str]:
        """The evaluation sets that have files; the others are told, and not looked for."""
        return {name: given for name, given in self.evaluation_sets.items() if glob.glob(given, recursive=True)}

    def told(self) -> list[str]:
        """A sentence for each evaluation set that is not looked for, and one where none is."""
        there = self.sets_there
        lines = [
            f"No files of the evaluation set {name} at {given}: documents that hold its questions stay."
            for name, given in self.evaluation_sets.items()
            if name not in there
        ]
        return lines if there else [*lines, "Nothing was decontaminated: no evaluation set was there or given."]


@dataclass(frozen=True)
class DataConfig:
    """All of data.yaml; ``dedup`` is None where it is left out."""

    sources: tuple[Source, ...]
    dedup: Dedup | None


def read_config(path: Path, corpora: Path, only: list[str]) -> DataConfig:
    """
    Args:
        corpora: folder that relative inputs are below.
        only: names of the sources to take; all when empty.

    Raises:
        ConfigError: what is wrong, with the place.
    """
    if not path.is_file():
        raise ConfigError(f"no file {path}", fix="check CONFIG")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    _check_keys(tree, ("sources", "dedup"), str(path))
    entries = tree.get("sources")
    if not isinstance(entries, dict) or not entries:
        raise ConfigError(f"{path}: no sources", rule="sources is a mapping of names")
    for name in only:
        if name not in entries:
            raise ConfigError(f"ONLY names {name!r}", fix=nearest(name, entries) or f"sources are {', '.join(entries)}")
    sources = [_source(name, entry, path, corpora) for name, entry in entries.items() if not only or name in only]
    return DataConfig(tuple(sources), _dedup(tree.get("dedup"), path, corpora))


def _source(name: str, entry: Any, path: Path, corpora: Path) -> Source:
    where = f"{path}: source {name!r}"
    _check_keys(entry, SOURCE_KEYS, where)
    for key in ("corpus", "input"):
        if not entry.get(key):
            raise ConfigError(f"{where} has no {key}", rule="a source has a corpus and an input")
    if "/" in name or not name:
        raise ConfigError(where, rule="a name becomes a file name: it has no /")
    inputs = entry["input"] if isinstance(entry["input"], list) else [entry["input"]]
    weight = entry.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or weight <= 0:
        raise ConfigError(f"{where}: weight {weight!r}", rule="it is a number above 0")
    return Source(
        name,
        str(entry["corpus"]),
        tuple(str(given) if "://" in str(given) else str(corpora / str(given)) for given in inputs),
        entry.get("recipe"),
        int(entry.get("priority", 0)),
        float(weight),
        entry.get("options") or {},
        str(entry.get("licence", "not stated")),
    )


def _dedup(entry: Any, path: Path, corpora: Path) -> Dedup | None:
    if entry is None:
        return None
    _check_keys(entry, DEDUP_KEYS, f"{path}: dedup")
    sets = {name: str(corpora / str(given)) for name, given in (entry.get("evaluation_sets") or {}).items()}
    return Dedup(entry.get("threshold"), str(entry.get("memory", Dedup.memory)), sets)


def _check_keys(entry: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} is {entry!r:.60}", rule=f"it is a mapping with the keys {', '.join(known)}")
    for key in entry:
        if key not in known:
            raise ConfigError(
                f"{where}: unknown key {key!r}", fix=nearest(str(key), known) or f"use {', '.join(known)}"
            )
