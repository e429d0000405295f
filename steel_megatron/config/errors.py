"""The one error family of the project: what was given, the rule it breaks, and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SteelError(Exception):
    """An error a user can act on.

    Args:
        given: what was found, with its values.
        rule: what was expected of it.
        fix: the step that mends it.

    The command line prints the three parts and exits with status 2 instead of a traceback.
    """

    def __init__(self, given: str, rule: str = "", fix: str = "") -> None:
        self.given = given
        self.rule = rule
        self.fix = fix
        lines = [given]
        if rule:
            lines.append(f"  rule: {rule}")
        if fix:
            lines.append(f"  fix:  {fix}")
        super().__init__("\n".join(lines))


class ConfigError(SteelError):
    """A flag, a YAML key or a combination of values that cannot work."""


class DeviceMemoryError(SteelError):
    """A model, batch or layout that the memory of a GPU does not hold."""


class DataError(SteelError):
    """A dataset, manifest, tokenizer or corpus that is missing, damaged or does not fit."""


class CheckpointError(SteelError):
    """A checkpoint that is missing, damaged or does not fit the run."""


class StorageError(CheckpointError):
    """A file system that did not take or give a checkpoint's files: full, read-only, gone. It may do so later."""


class StalledRunError(SteelError):
    """Ranks wait for one that does not come."""


def nearest(word: str, known: Iterable[str]) -> str:
    """'did you mean …?' for the known word most like ``word``; empty when none is near."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {matches[0]}?" if matches else ""
