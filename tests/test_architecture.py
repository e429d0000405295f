"""The house keeps its floors: who may import whom, how long a file may be, what must not load torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.document_twins import commands, dead_links, outline, twins
from helpers.import_graph import FLOORS, PACKAGE, floor_errors, imports_of, private_torch_uses

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / PACKAGE).rglob("*.py"))
DOCUMENTS = ("*.md", "docs/**/*.md", "examples/**/*.md")
LONGEST = 400  # lines
TORCH_ADAPTER = ROOT / PACKAGE / "checkpoint" / "dcp_adapter.py"


def test_imports_go_down_the_floors() -> None:
    assert [error for path in SOURCES for error in floor_errors(path, ROOT)] == []


def test_every_folder_is_on_a_floor() -> None:
    folders = {path.relative_to(ROOT / PACKAGE).parts[0] for path in SOURCES if path.parent != ROOT / PACKAGE}
    assert folders - set(FLOORS) == set()


@pytest.mark.parametrize("folder", ["corpus", "tokenizer", "config", "jobs"])
def test_folders_that_name_no_torch(folder: str) -> None:
    named = [
        f"{path.relative_to(ROOT)}:{found.line}"
        for path in sorted((ROOT / PACKAGE / folder).rglob("*.py"))
        for found in imports_of(path, ROOT)
        if found.name.split(".")[0] == "torch"
    ]
    assert named == []


def test_jobs_corpus_and_tokenizer_load_without_torch() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for folder in ("jobs", "corpus", "tokenizer")
        for path in sorted((ROOT / PACKAGE / folder).rglob("*.py"))
    ]
    program = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert modules
    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=ROOT).returncode == 0


def test_private_torch_stays_in_one_adapter() -> None:
    used = [use for path in SOURCES if path != TORCH_ADAPTER for use in private_torch_uses(path, ROOT)]
    assert used == []


def test_no_file_is_long() -> None:
    folders = [PACKAGE, "csrc", "tools", "tests", "benchmarks", "examples"]
    suffixes = {".py", ".pyi", ".cpp", ".h", ".cu", ".cuh", ".sh"}
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_a_document_and_its_chinese_twin_agree() -> None:
    for english, chinese in twins(ROOT):
        texts = [path.read_text(encoding="utf-8") for path in (english, chinese)]
        assert outline(texts[0]) == outline(texts[1]), f"headings of {english.name} and {chinese.name} differ"
        assert commands(texts[0]) == commands(texts[1]), f"commands of {english.name} and {chinese.name} differ"


def test_links_between_documents_lead_somewhere() -> None:
    found = {path: dead_links(path) for pattern in DOCUMENTS for path in ROOT.glob(pattern)}
    assert {str(path.relative_to(ROOT)): dead for path, dead in found.items() if dead} == {}


def test_the_checks_themselves_see_what_they_look_for(tmp_path: Path) -> None:
    for folder in ("config", "ops", "corpus", "training"):
        (tmp_path / PACKAGE / folder).mkdir(parents=True)
    low = tmp_path / PACKAGE / "ops" / "low.py"
    low.write_text(
        "from steel_megatron.config import errors\n"
        "def f():\n"
        "    from steel_megatron.training.loop import Trainer\n"
        "    from .. import training\n"
        "    from ..corpus import convert\n"
        "    import torch.distributed._tools\n"
        "    return torch._C.x, torch.__version__\n"
    )
    assert [error.split(": ")[0].rpartition(":")[2] for error in floor_errors(low, tmp_path)] == ["3", "4", "5"]
    assert [use.split(": ")[1] for use in private_torch_uses(low, tmp_path)] == [
        "torch.distributed._tools",
        "torch._C.x",
        "torch._C",
    ]
    (tmp_path / "a.md").write_text("[here](a.md) [there](b.md#part) [far](https://b.md) ![figure](c/d.svg)\n")
    assert dead_links(tmp_path / "a.md") == ["b.md", "c/d.svg"]
    assert outline("# a\n```\n# no\n```\n## b") == [1, 2]
    assert commands("```\nmake demo  # shows it\n\n# only words\n```\nmake test") == ["make demo"]


def test_the_figure_of_the_floors_shows_these_floors() -> None:
    script = ROOT / "tools" / "docs" / "architecture_figures.py"
    assert subprocess.run([sys.executable, str(script), "--check"], check=False).returncode == 0, f"run {script.name}"
