"""Tests mirror the package: ``a/b/c.py`` is tested by ``tests/a/b/test_c.py``, wherever ``c`` holds logic."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "steel_megatron"
TOGETHER = "corpus/corpora"  # modules that each declare one CORPUS: tests/corpus/test_corpora.py holds them all
BRANCHES = (ast.If, ast.For, ast.While, ast.Try, ast.IfExp, ast.comprehension, ast.BoolOp, ast.Match)


def holds_logic(path: Path) -> bool:
    """Whether a function of the module branches or loops."""
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    return any(isinstance(node, BRANCHES) for function in functions for node in ast.walk(function))


def untested(package: Path, tests: Path) -> set[str]:
    """Modules with logic and without a test file of the mirrored name, by their paths in the package."""
    found = set()
    for path in package.rglob("*.py"):
        module = path.relative_to(package)
        mirror = tests / module.parent / f"test_{module.name}"
        if not path.name.startswith("__") and module.parent.as_posix() != TOGETHER and not mirror.exists():
            found |= {module.as_posix()} if holds_logic(path) else set()
    return found


def test_every_module_with_logic_has_its_test_file() -> None:
    assert sorted(untested(PACKAGE, ROOT / "tests")) == [], "write tests/FOLDER/test_MODULE.py for each"


def test_the_check_sees_what_it_looks_for(tmp_path: Path) -> None:
    package, tests = tmp_path / "package", tmp_path / "tests"
    for folder in (package / "a", package / TOGETHER, tests / "a"):
        folder.mkdir(parents=True)
    logic = "def f(x):\n    return [y for y in x]\n"
    for name in ("a/missing.py", "a/there.py", "a/__init__.py", f"{TOGETHER}/one.py"):
        (package / name).write_text(logic)
    (package / "a" / "plain.py").write_text("X = [y for y in ()]\ndef f(x):\n    return x\n")
    (tests / "a" / "test_there.py").write_text("")
    assert untested(package, tests) == {"a/missing.py"}
