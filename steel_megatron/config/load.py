"""A run's configuration from its layers: defaults, preset, YAML file, flags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from steel_megatron.config.errors import ConfigError, nearest
from steel_megatron.config.run import KNOBS, SECTIONS, RunConfig
from steel_megatron.config.texts import parse_yaml, read_text
from steel_megatron.config.values import convert

PRESETS = Path(__file__).parent.parent / "model" / "presets"


def preset_names() -> list[str]:
    """The presets shipped, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_run_config(
    file: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    preset: str | None = None,
) -> RunConfig:
    """Builds a configuration; each layer overrides the one before it.

    Args:
        file: YAML with sections (``model:``, ``training:`` …) or bare knob names; may name a ``preset:``.
        overrides: knob name → value, as given by flags.
        preset: name of a shipped preset; wins over the file's.

    Raises:
        ConfigError: unknown key (the nearest known one is named), wrong type or choice, missing file, an empty name.
    """
    for flag, named in (("--config", file), ("--preset", preset)):
        if named == "":
            raise ConfigError(
                f"{flag} ''",
                rule="what it names is not empty",
                fix="give one, or leave it out; a shell's variable that is not set is empty",
            )
    layers: list[tuple[str, dict[str, Any]]] = []
    if file is not None:
        tree = read_yaml(Path(file))
        named = tree.pop("preset", None)
        preset = preset or (None if named is None else str(named))
        layers.append((str(file), tree))
    if preset is not None:
        path = PRESETS / f"{preset}.yaml"
        if not path.is_file():
            names = preset_names()
            raise ConfigError(
                f"unknown preset {preset!r}",
                rule=f"presets are {', '.join(names)}",
                fix=nearest(preset, names) or "choose one of them, or write the model's shape in the run file",
            )
        layers.insert(0, (f"preset {preset}", read_yaml(path)))
    given: dict[str, Any] = {}
    for where, tree in layers:
        given |= knobs_in(tree, where)
    given |= {name: convert(KNOBS[name], value, KNOBS[name].flag) for name, value in (overrides or {}).items()}
    return RunConfig.of(**given)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file whose top is a mapping."""
    if not path.is_file():
        raise ConfigError(f"no configuration file {path}", fix="check the path given to --config")
    tree = parse_yaml(read_text(path), path) or {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}", rule="a run file is a mapping of sections and knobs")
    return tree


def knobs_in(tree: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The knobs that a nested or flat mapping names, with their values; ``where`` it is from, for errors."""
    given: dict[str, Any] = {}
    for key, value in tree.items():
        if key in SECTIONS and (isinstance(value, dict) or key not in KNOBS):  # "optimizer" is both
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: section {key!r} holds {value!r}", rule="a section is a mapping of knobs")
            for name, inner in value.items():
                given |= _knob_in(str(name), inner, where, section=key)
        else:
            given |= _knob_in(str(key), value, where, section=None)
    return given


def _knob_in(key: str, value: Any, where: str, section: str | None) -> dict[str, Any]:
    name = key.replace("-", "_")
    knob = KNOBS.get(name)
    if knob is None:
        known = [*KNOBS, *SECTIONS, "preset"] if section is None else [*KNOBS]
        raise ConfigError(f"{where}: unknown key {key!r}", fix=nearest(name, known) or "see docs/training_flags.md")
    if section is not None and knob.section != section:
        raise ConfigError(f"{where}: {key!r} stands in section {section!r}", fix=f"move it to section {knob.section!r}")
    return {name: convert(knob, value, f"{where}: {key}")}


class _Dumper(yaml.SafeDumper):
    """Writes line ends of other alphabets (U+0085, U+2028, U+2029) as escapes, which otherwise come back as spaces."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style='"' if set(text) & set("\x85\u2028\u2029") else None
    )


_Dumper.add_representer(str, _text)


def run_config_text(config: RunConfig) -> str:
    """The effective configuration as YAML that :func:`load_run_config` reads back to the same."""
    return yaml.dump(config.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
