"""A data-juicer recipe: a YAML file that lists operations with their parameters."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steel_megatron.config import PROCESSES, ConfigError, parse_yaml, read_text
from steel_megatron.corpus.cleaning.operation import CODE, FILES, OPERATIONS, Operation, build_operation

log = logging.getLogger(__name__)
Step = tuple[str, dict[str, Any]]  # an operation's name and its parameters


@dataclass(frozen=True)
class Recipe:
    """What a recipe file says. ``passed_over`` names deduplicators, which ``steel dedup`` replaces."""

    path: str
    steps: tuple[Step, ...]
    passed_over: tuple[str, ...] = ()
    dataset_path: str = ""
    export_path: str = ""
    workers: int = 1
    text_key: str = "text"
    content: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def build(self) -> list[Operation]:
        """The operations, checked and with what they need loaded.

        Raises:
            ConfigError: an operation, parameter, package or model file is not there.
        """
        return build_steps(self.steps)


def build_steps(steps: Sequence[Step]) -> list[Operation]:
    """The operations of steps; errors as :meth:`Recipe.build`."""
    return [build_operation(name, parameters) for name, parameters in steps]


def read_recipe(path: str) -> Recipe:
    """The recipe in a YAML file.

    Raises:
        ConfigError: the file is not there or is no recipe.
    """
    try:
        text = read_text(Path(path), "--recipe")
    except OSError as error:
        raise ConfigError(f"--recipe {path}: {error.strerror or error}") from None
    content = parse_yaml(text, Path(path))
    if not isinstance(content, dict) or not isinstance(content.get("process"), list):
        raise ConfigError(
            f"{path} has no list 'process'",
            rule="a recipe lists its operations under 'process', each with its parameters",
        )
    steps = [_step(path, entry) for entry in content["process"]]
    return Recipe(
        path=path,
        steps=tuple(step for step in steps if not step[0].endswith("_deduplicator")),
        passed_over=tuple(name for name, _ in steps if name.endswith("_deduplicator")),
        dataset_path=str(content.get("dataset_path") or ""),
        export_path=str(content.get("export_path") or ""),
        workers=_workers(path, content.get("np")),
        text_key=_text_key(path, content.get("text_keys")),
        content=content,
    )


def _step(path: str, entry: Any) -> Step:
    """``- name``, ``- name:`` or ``- name: {parameter: value}``."""
    if isinstance(entry, str):
        entry = {entry: None}
    if isinstance(entry, dict) and len(entry) == 1:
        ((name, parameters),) = entry.items()
        if isinstance(name, str) and (parameters is None or isinstance(parameters, dict)):
            return name, {**(parameters or {}), **_beside(name, parameters or {})}
    raise ConfigError(
        f"{path}: {entry!r} under 'process'", rule="each entry is an operation's name with a mapping of its parameters"
    )


def _beside(name: str, parameters: Mapping[str, Any]) -> dict[str, str]:
    """What the operation's results depend on beside its parameters."""
    if name not in OPERATIONS:
        return {}
    files = OPERATIONS.load(name, "--recipe").depends_on(parameters)
    code = {CODE: OPERATIONS.code(name)} if OPERATIONS.outside(name) else {}
    return {**code, FILES: files} if files else code


def _workers(path: str, given: Any) -> int:
    if given is None:
        return 1
    if not isinstance(given, int) or isinstance(given, bool) or not PROCESSES.holds(given):
        raise ConfigError(f"{path}: np: {given!r}", rule=f"it is a whole number, {PROCESSES}", fix="leave it out for 1")
    return given


def _text_key(path: str, given: Any) -> str:
    keys = [given] if isinstance(given, str) else given
    if keys in (None, []):
        return "text"
    if not isinstance(keys, list) or len(keys) != 1 or not isinstance(keys[0], str):
        raise ConfigError(f"{path}: text_keys: {given!r}", rule="natively one key holds the text")
    return keys[0]
