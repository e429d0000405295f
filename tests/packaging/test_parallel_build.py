"""C++ files are compiled side by side, again only where something changed, and with as many compilers as asked for."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "csrc"
SETUP = f"""
import sys, time
sys.path.insert(0, {str(FOLDER)!r})
from setuptools import Extension, setup
from parallel_build import ParallelBuild

class Build(ParallelBuild):
    def flags_of(self, source):
        return ["-DGIVEN=1"] if source == "c.cpp" else []

setup(name="few", ext_modules=[Extension("one", ["a.cpp", "b.cpp"]), Extension("two", ["c.cpp"], depends=["c.h"])],
      cmdclass={{"build_ext": Build}})
"""
# Notes which file is compiled, and how many compilers are at work.
COMPILER = """#!/bin/sh
case "$*" in *" -c "*) ;; *) exec g++ "$@" ;; esac
for argument; do case "$argument" in *.cpp) name=$argument ;; esac; done
touch "$name.running"; sleep 0.3; echo "$name $(ls *.running | wc -l)" >> log
g++ "$@"; status=$?; rm "$name.running"; exit $status
"""


def module():
    spec = importlib.util.spec_from_file_location("parallel_build", FOLDER / "parallel_build.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def project(tmp_path):
    files = {
        "setup.py": SETUP,
        "compiler": COMPILER,
        "a.cpp": "int a() { return 1; }\n",
        "b.cpp": "int b() { return 2; }\n",
        "c.cpp": '#include "c.h"\nint c() { return GIVEN; }\n',
        "c.h": "",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "compiler").chmod(0o755)
    return tmp_path


def build(project: Path, jobs: str) -> tuple[list[str], int]:
    """(Files that were compiled, the most compilers at once)."""
    log = project / "log"
    log.write_text("")
    compiler = str(project / "compiler")
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=project,
        env={**os.environ, "CC": compiler, "CXX": compiler, "MAX_JOBS": jobs},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in log.read_text().splitlines()]
    return sorted(name for name, _ in lines), max((int(count) for _, count in lines), default=0)


def change(path: Path, text: str) -> None:
    path.write_text(text)
    os.utime(path, (time.time() + 5, time.time() + 5))


@pytest.mark.skipif(sys.platform == "win32" or shutil.which("g++") is None, reason="needs g++")
def test_files_are_compiled_side_by_side_and_once(project):
    assert build(project, "3") == (["a.cpp", "b.cpp", "c.cpp"], 3)
    assert list(project.glob("one*.so"))
    assert list(project.glob("two*.so"))
    assert build(project, "3") == ([], 0)
    change(project / "c.h", "inline int d() { return 3; }\n")
    assert build(project, "3") == (["c.cpp"], 1)
    for path in project.glob("build/**/*.command"):
        path.write_text("another compiler")
    change(project / "b.cpp", "int b() { return 4; }\n")
    change(project / "c.h", "inline int d() { return 5; }\n")
    assert build(project, "1") == (["a.cpp", "b.cpp", "c.cpp"], 1)


def test_jobs(monkeypatch):
    jobs = module().jobs
    monkeypatch.setenv("MAX_JOBS", "7")
    assert jobs() == 7
    monkeypatch.delenv("MAX_JOBS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 4}, raising=False)
    assert jobs() == 3
    for wrong in ("0", "-1", "all"):
        monkeypatch.setenv("MAX_JOBS", wrong)
        with pytest.raises(SystemExit, match=f"MAX_JOBS={wrong}"):
            jobs()
