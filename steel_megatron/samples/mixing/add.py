"""Appends a phase to the text of a phases file, which keeps its comments and layout."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from steel_megatron.config import ConfigError
from steel_megatron.jobs.durable import sync
from steel_megatron.samples.mixing.phases_file import load_tree, parse_phases

ITEM = re.compile(r"^( *)- ", re.MULTILINE)  # the beginning of a phase


def with_phase(text: str, path: Path, phase: dict[str, Any], seq_length: int, total_samples: int) -> str:
    """The text with one more phase at its end.

    A last phase with epochs or tokens whose length was that of the run gets that length as its ``until``: its shares,
    and so what the run has read, stay as they are.

    Args:
        text: of a phases file.
        path: where it is, for errors.
        phase: what is added, as the file would have it.
        seq_length: tokens of a sample.
        total_samples: length of the run before the change.

    Raises:
        ConfigError: the file or the phase is wrong, or the file is not written as a list with a dash before each phase.
    """
    expected = load_tree(text, path)
    drafts, _ = parse_phases(text, path, seq_length)
    last = drafts[-1]
    items = list(ITEM.finditer(text))
    if last.budgets and last.weights and last.until is None and items:
        column = items[0][1]
        own = [item for item in items if item[1] == column]
        begin, end = own[-1].span()
        text = f"{text[:begin]}{column}- until: {total_samples}\n{column}  {text[end:]}"
        expected[-1] = {"until": total_samples, **expected[-1]}
    column = items[0][1] if items else ""
    added = yaml.safe_dump([phase], sort_keys=False, allow_unicode=True, default_flow_style=None, width=1000)
    added = "".join(f"{column}{line}\n" for line in added.splitlines())
    joined = f"{text.rstrip()}\n{added}"
    try:
        found: Any = load_tree(joined, path)
    except ConfigError:
        found = None
    if found != [*expected, phase]:
        raise ConfigError(
            f"{path} is not a list with a dash before each phase",
            rule="a phase is added to the end of such a list",
            fix=f"write the file so, or add this by hand:\n{added}",
        )
    parse_phases(joined, path, seq_length)
    return joined


def replace_when_valid(path: Path, text: str, check: Callable[[Path], None], *, replace: bool = True) -> None:
    """Gives a file new content in one step, once ``check`` has passed it as another file of the same folder.

    Args:
        replace: False only checks.

    Raises:
        Exception: what ``check`` raised; the file is then as it was.
    """
    candidate = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        candidate.write_text(text, encoding="utf-8")
        shutil.copymode(path, candidate)
        check(candidate)
        if replace:
            sync(candidate)
            os.replace(candidate, path)
            sync(path.parent)
    finally:
        candidate.unlink(missing_ok=True)
