"""Real texts of two kinds as JSON lines: prose and code of Python's library; Chinese and English of our pages."""

from __future__ import annotations

import ast
import json
import re
import sysconfig
from collections.abc import Iterable
from pathlib import Path

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
MODULES = ("argparse", "ast", "collections/__init__", "datetime", "difflib", "inspect", "logging/__init__", "pathlib")
MODULES += ("subprocess", "tarfile", "threading", "turtle", "typing", "unittest/mock", "zipfile", "pickle", "doctest")
DOCS = Path(__file__).parents[2] / "docs"


def prose_and_code() -> tuple[list[str], list[str]]:
    """Docstrings, and the statements of functions without theirs."""
    prose, code = [], []
    for module in MODULES:
        path = LIBRARY / f"{module}.py"
        if not path.is_file():
            path = LIBRARY / module / "__init__.py"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                prose += [text] if (text := ast.get_docstring(node)) and len(text) > 60 else []
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                code += [text] if len(text := "\n".join(map(ast.unparse, body))) > 60 else []
    return prose, code


def chinese_and_english() -> tuple[list[str], list[str]]:
    """Paragraphs of the pages and of their twins."""
    found: tuple[list[str], list[str]] = ([], [])
    for path in sorted(DOCS.glob("*.zh-CN.md")):
        for at, page in enumerate((path, path.with_name(path.name.replace(".zh-CN", "")))):
            text = re.sub(r"(?s)```.*?```", "", page.read_text(encoding="utf-8"))
            found[at].extend(part for part in re.split(r"\n\s*\n", text) if len(part) > 30)
    return found


def write_records(path: Path, texts: Iterable[str]) -> Path:
    """A record per text, with its number as id."""
    lines = [json.dumps({"id": str(at), "text": text}, ensure_ascii=False) for at, text in enumerate(texts)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
