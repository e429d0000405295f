"""Fills a fresh virtual environment with this project and what it needs: run it with that environment's Python.

Packages are installed while the C++ parts compile. Nothing is compiled to bytecode that is never imported: Python does
that at the first import, and the modules named by ``--import`` are imported here, so that processes that start
together need not each do it.

Usage: .venv/bin/python tools/environment.py --torch torch==2.13.0 --extras demo --ready .venv/ready
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile"]
NAME = "steel-megatron"


def main() -> int:
    """Exit status 0 when everything is installed; then the ``--ready`` file is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", required=True, metavar="REQUIREMENT", help="which torch, as pip writes it")
    parser.add_argument("--extras", nargs="*", default=[], metavar="NAME", help="extras of pyproject.toml")
    parser.add_argument("--import", nargs="*", default=[], dest="modules", metavar="MODULE", help="import these once")
    parser.add_argument("--ready", required=True, type=Path, metavar="FILE", help="written when all is done")
    args = parser.parse_args()
    if sys.prefix == sys.base_prefix:
        parser.error(f"{sys.executable} is no virtual environment's Python; make one with python3 -m venv")
    begun = time.monotonic()
    log_path = Path(sys.prefix) / "build.log"
    with open(log_path, "wb") as log:
        build = subprocess.Popen([*PIP, "--no-deps", "--editable", "."], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            packages = [args.torch, *requirements(read_project(), args.extras)]
            subprocess.run([*PIP, *index_options(), *packages], check=True)
            installed = time.monotonic()
            imports = "; ".join(f"import {module}" for module in args.modules) or "pass"
            subprocess.run([sys.executable, "-c", imports], check=True)
            imported = time.monotonic()
        except BaseException:
            build.kill()
            raise
        finally:
            status = build.wait()
    if status:
        print(log_path.read_text(encoding="utf-8", errors="replace"), file=sys.stderr)
        return status
    print(
        f"installed in {time.monotonic() - begun:.0f} s: packages {installed - begun:.0f} s, their first import "
        f"{imported - installed:.0f} s, C++ beside that and {time.monotonic() - imported:.0f} s longer"
    )
    args.ready.touch()
    return 0


def read_project() -> dict[str, Any]:
    """The ``project`` table of pyproject.toml."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        from pip._vendor import tomli as tomllib  # Python 3.10 has none of its own

    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def requirements(project: dict[str, Any], extras: list[str]) -> list[str]:
    """What the project and some of its extras need; torch, which is named apart, left out.

    An extra may name others, as ``steel-megatron[corpus,plot]``.

    Raises:
        KeyError: no such extra.
    """
    found = list(project["dependencies"])
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            others = re.fullmatch(rf"{NAME}\[(.*)\]", line)
            found += requirements(project, others[1].split(",")) if others else [line]
    return sorted({line for line in found if not re.match(r"torch\b(?![-_])", line)})


def index_options() -> list[str]:
    """Where torch comes from, besides where pip looks anyway: the index that ``TORCH_INDEX`` names, if any.

    PyPI's torch for Linux brings gigabytes of CUDA libraries, which a machine without a GPU has no use for.
    """
    index = os.environ.get("TORCH_INDEX")
    return ["--extra-index-url", index] if index else []


if __name__ == "__main__":
    sys.exit(main())
