"""Compares a document with its translation: the same outline and the same commands."""

from __future__ import annotations

import re
from pathlib import Path


def twins(root: Path) -> list[tuple[Path, Path]]:
    """The documents that have a Chinese twin beside them."""
    chinese = sorted([*root.glob("*.zh-CN.md"), *root.glob("docs/**/*.zh-CN.md"), *root.glob("examples/**/*.zh-CN.md")])
    return [(path.with_name(path.name.replace(".zh-CN.md", ".md")), path) for path in chinese]


def outline(text: str) -> list[int]:
    """The level of each heading."""
    return [len(line) - len(line.lstrip("#")) for line in _outside_code(text) if re.match(r"#{1,6} ", line)]


def commands(text: str) -> list[str]:
    """The lines of the code blocks without comments and blank lines."""
    lines = [re.sub(r"(^|\s)(#|//) .*", "", line).rstrip() for line in _inside_code(text)]
    return [line for line in lines if line]


def _inside_code(text: str) -> list[str]:
    return [line for fenced, line in _lines(text) if fenced]


def _outside_code(text: str) -> list[str]:
    return [line for fenced, line in _lines(text) if not fenced]


def _lines(text: str) -> list[tuple[bool, str]]:
    fenced, lines = False, []
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        else:
            lines.append((fenced, line))
    return lines


def dead_links(document: Path) -> list[str]:
    """The relative links of a document that lead to no file."""
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", "\n".join(_outside_code(document.read_text(encoding="utf-8"))))
    return [target for target in targets if "://" not in target and not (document.parent / target).exists()]
