"""CONTRIBUTING.md, followed to the letter: files written, commands run, changes made to a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from steel_megatron.training.output.metrics_rows import read_metrics

ROOT = Path(__file__).parents[2]
PAGES = ("CONTRIBUTING.md", "CONTRIBUTING.zh-CN.md")
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
PATH = re.compile(r"`((?:raw|experiments)/[\w./]+)`[:：]\s*$")
# Pairs of runs: given from outside, and out of the package.
SAME_RUNS = {
    "A schedule": ("restarts", "restarts_again"),
    "An activation": ("mish", "mish_again"),
    "A callback": ("fewest", "fewest_again"),
    "An optimizer": ("lion", "lion_again"),
    "A pipeline schedule": ("pipe", "pipe_again"),
}


@dataclass
class Step:
    """A block of a page; ``path`` is the file that it is the content of, if it is one."""

    language: str
    text: str
    path: str


def sections(page: str) -> dict[str, list[Step]]:
    """Heading → the blocks below it, in order."""
    found = {}
    for section in (ROOT / page).read_text(encoding="utf-8").split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        found[heading] = [
            Step(match[1], match[2], named[1] if (named := PATH.search(body[: match.start()])) else "")
            for match in BLOCK.finditer(body)
        ]
    return found


ENGLISH, CHINESE = map(sections, PAGES)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, the corpus's playbook followed there, and the tiny run's file."""
    folder = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "steel_megatron", folder / "steel_megatron", ignore=ignored)
    for library in (ROOT / "steel_megatron").glob("*.so"):
        (folder / "steel_megatron" / library.name).symlink_to(library)
    follow(folder, ENGLISH["A corpus"])
    follow(folder, [step for step in ENGLISH["A schedule"] if step.path.endswith(".yaml")])
    return folder


def follow(folder: Path, steps: list[Step]) -> None:
    """Does what the blocks say."""
    for step in steps:
        if step.path:
            (folder / step.path).parent.mkdir(exist_ok=True)
            (folder / step.path).write_text(step.text, encoding="utf-8")
        elif step.language == "diff":
            said = shell(folder, "patch -p1 --batch", step.text)
            assert "fuzz" not in said, said
        elif step.language == "python":
            shell(folder, f"{sys.executable} -", step.text)
        else:
            for line in step.text.splitlines():
                shell(folder, line)


def shell(folder: Path, line: str, given: str = "") -> str:
    """Runs a line as a user would, with the copy of the package; returns what it printed."""
    line = re.sub(r"^steel ", f"{sys.executable} -m steel_megatron ", line)
    line = re.sub(r"^torchrun ", f"{sys.executable} -m torch.distributed.run --standalone ", line)
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("COVERAGE_PROCESS_START", None)
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_both_pages_say_the_same_blocks() -> None:
    assert list(ENGLISH.values()) == list(CHINESE.values())


def test_every_block_is_followed() -> None:
    followed = {"A corpus", "A cleaning operation", *SAME_RUNS}
    assert {heading for heading, steps in ENGLISH.items() if steps} - followed == {"Tests, style, commits"}


def test_a_corpus(tree: Path) -> None:
    texts = [(tree / "text" / f"{name}.jsonl").read_text(encoding="utf-8") for name in ("forum", "forum_again")]
    assert texts[0] == texts[1]
    assert [json.loads(line)["text"][:5] for line in texts[0].splitlines()] == ["茶\n绿茶用", "Bread"]


def test_a_cleaning_operation(tree: Path) -> None:
    follow(tree, ENGLISH["A cleaning operation"])
    outside, package = (
        json.loads((tree / "clean" / f"{name}.jsonl.report.json").read_text(encoding="utf-8"))
        for name in ("forum", "forum_again")
    )
    assert outside["documents"] == package["documents"] == 2
    assert "emoji_filter" in json.dumps(package)


@pytest.mark.parametrize("heading", SAME_RUNS)
def test_a_run(tree: Path, heading: str) -> None:
    follow(tree, ENGLISH[heading])
    outside, package = (list(read_metrics(tree / "runs" / name / "metrics.jsonl")) for name in SAME_RUNS[heading])
    assert len(package) == 4
    for one, other in zip(outside, package, strict=False):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)
        assert one.get("fewest_tokens") == other.get("fewest_tokens")
