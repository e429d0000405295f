"""docs/new_kernel.md, followed to the letter in a copy of the repository: built, tested, emulated, and known to all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.cuda_emulator import build

ROOT = Path(__file__).parents[3]
PAGES = ("new_kernel.md", "new_kernel.zh-CN.md")
LIST = "csrc/ops/declarations.h"
BEFORE = {  # the place in the list, as the page says it → the line that stands behind it
    "before the #undef lines": "#undef KERNEL\n",
    "at the end of the headers": "#endif\n",
}


def files_of(page: str) -> dict[str, str]:
    """Path → what the page writes into the file: a block belongs to the last path that is named before it."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = {}
    for before, code in re.findall(r"((?:(?!```).)*)```(?:cpp|python)\n(.*?)```", text, re.DOTALL):
        named = re.findall(r"`((?:csrc|steel_megatron|tests)/[\w/]+\.\w+)`[:：]", before)
        found[named[-1] if named else LIST] = code
    return found


def follow(page: str, root: Path) -> None:
    """Writes the files; in the list, each part where the comment above it says."""
    for path, code in files_of(page).items():
        if path != LIST:
            (root / path).write_text(code, encoding="utf-8")
            continue
        listed = (root / LIST).read_text(encoding="utf-8")
        for place, lines in re.findall(rf"// {LIST}, ([^\n]*)\n((?:(?!// {LIST}).*\n)+)", code):
            head, behind, tail = listed.rpartition(BEFORE[place])
            listed = f"{head}{lines}{behind}{tail}"
        (root / LIST).write_text(listed, encoding="utf-8")


def test_five_files_and_both_pages_have_the_same() -> None:
    english, chinese = map(files_of, PAGES)
    assert english == chinese
    assert len(english) == 5


@pytest.mark.slow
@pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))
def test_the_page_is_followed(tmp_path: Path) -> None:
    for folder in ("csrc/ops", "csrc/common", "steel_megatron", "tests/helpers", "tests/ops"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "csrc/cuda_build.py", "csrc/parallel_build.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests" / "conftest.py")
    for library in (tmp_path / "steel_megatron").glob("_ops*.so"):
        library.unlink()
    follow(PAGES[0], tmp_path)

    def python(*words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "STEEL_CUDA_KERNELS": "0"}
        environment["STEEL_KERNEL_TIMES"] = str(tmp_path / "times.json")
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    python("setup.py", "build_ext", "--inplace")
    said = python("-m", "pytest", "-q", "tests/ops/native", "-k", "soft_cap or left_out or signatures")
    assert int(re.findall(r"(\d+) passed", said)[0]) > 30
    assert re.search(r"soft cap: .*steel [\d.]+ ms", python("-m", "steel_megatron", "doctor", "--measure"))
