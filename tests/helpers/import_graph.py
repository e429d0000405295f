"""What Python files import, read from their text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from docs.architecture_figures import FLOORS as DRAWN

PACKAGE = "steel_megatron"

# DESIGN's floors: a file imports from its own folder and from folders on lower floors.
FLOORS = {folder: floor for floor, folders in DRAWN for folder in folders}
# Pairs on one floor of which the first may import from the second.
BESIDE = {("jobs", "config"), ("generate", "huggingface"), ("training", "reports"), ("verify", "training")}


class Import(NamedTuple):
    """One name that a file takes from elsewhere, dotted and absolute."""

    line: int
    name: str


def imports_of(path: Path, root: Path) -> Iterator[Import]:
    """Every import of a file, also inside functions and under TYPE_CHECKING; ``from a import b`` is ``a.b``."""
    package = path.relative_to(root).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(node.lineno, f"{module}.{alias.name}")


def floor_errors(path: Path, root: Path) -> list[str]:
    """The imports of a file of the package that DESIGN's floors forbid, in words."""
    folder = path.relative_to(root / PACKAGE).parts[0]
    if folder.endswith(".py"):
        return []  # steel_megatron/__init__.py and __main__.py stand above all floors
    if folder not in FLOORS:
        return [f"{folder}/ is on no floor"]
    errors = []
    for line, name in imports_of(path, root):
        parts = name.split(".")
        if parts[0] != PACKAGE or len(parts) < 2 or not (root / PACKAGE / parts[1]).is_dir():
            continue  # another package, a name of steel_megatron/__init__.py, or a compiled module
        other = parts[1]
        if other != folder and (folder, other) not in BESIDE and FLOORS.get(other, 99) >= FLOORS[folder]:
            errors.append(f"{path.relative_to(root)}:{line}: {folder}/ (floor {FLOORS[folder]}) imports {name}")
    return errors


def private_torch_uses(path: Path, root: Path) -> list[str]:
    """Places where a file imports or names a private part of torch."""
    found = [f"{path.relative_to(root)}:{line}: {name}" for line, name in imports_of(path, root) if _is_private(name)]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Attribute):
            name = _dotted(node)
            if name is not None and _is_private(name):
                found.append(f"{path.relative_to(root)}:{node.lineno}: {name}")
    return found


def _is_private(name: str) -> bool:
    first, *rest = name.split(".")
    return first == "torch" and any(part.startswith("_") and not part.startswith("__") for part in rest)


def _dotted(node: ast.expr) -> str | None:
    """``a.b.c`` of an attribute chain that starts at a plain name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None
