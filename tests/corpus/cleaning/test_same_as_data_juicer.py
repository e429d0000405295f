"""Text and decisions equal data-juicer's: recorded always, live where ``STEEL_DATA_JUICER`` names its environment.

``python tests/corpus/cleaning/test_same_as_data_juicer.py DIR`` records anew.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.texts_to_clean import OPERATIONS, texts_to_clean
from steel_megatron._text import Text
from steel_megatron.corpus.cleaning.operation import Filter, Mapper, Operation, build_operation
from steel_megatron.corpus.cleaning.recipe import read_recipe

HERE = Path(__file__).parent
RECORDED = HERE / "data" / "data_juicer.json.gz"
NEEDED = {"chinese_convert_mapper": "opencc", "clean_html_mapper": "selectolax", "fix_unicode_mapper": "ftfy"}
RECORDED_TEXTS, LIVE_TEXTS = 150, 600


def ours(operation: Operation, text: str) -> Any:
    """What the operation makes of the text: the text, or [statistic, kept]."""
    changed = Text(text)
    if isinstance(operation, Mapper):
        operation.apply(changed)
        return str(changed)
    assert isinstance(operation, Filter)
    judgement = operation.judge(changed)
    return [float(judgement.value), not judgement.why]


def run_data_juicer(environment: Path, texts: list[str], folder: Path) -> dict[str, Any]:
    cases, results = folder / "cases.json", folder / "results.json"
    operations = [{"name": name, "parameters": parameters} for name, parameters in OPERATIONS]
    cases.write_text(json.dumps({"texts": texts, "operations": operations}))
    command = [environment / "bin" / "python", HERE / "run_data_juicer.py", cases, results]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return {"texts": texts, "operations": operations, **json.loads(results.read_text(encoding="utf-8"))}


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return dict(json.loads(gzip.decompress(RECORDED.read_bytes())))


def differences(name: str, parameters: dict[str, Any], texts: list[str], theirs: list[Any]) -> list[Any]:
    """Texts on which ours is another result, but where it is on purpose."""
    found = []
    operation = build_operation(name, parameters)
    for text, result in zip(texts, theirs, strict=True):
        mine = ours(operation, text)
        if name == "clean_copyright_mapper" and mine == text and "/*" not in text:
            continue  # theirs cuts any comment at the head, ours one that says copyright
        if name == "punctuation_normalization_mapper" and "１" in text:
            continue  # theirs makes it a quotation mark
        if mine != result:
            found.append((text, result, mine))
    return found


@pytest.mark.parametrize("number", range(len(OPERATIONS)), ids=lambda number: f"{OPERATIONS[number][0]}_{number}")
def test_equal_to_what_data_juicer_gave(recorded: dict[str, Any], number: int) -> None:
    name, parameters = OPERATIONS[number]
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    assert recorded["operations"][number] == {"name": name, "parameters": parameters}
    results = recorded["results"][number]
    assert len({json.dumps(result) for result in results}) > 1
    assert differences(name, parameters, recorded["texts"], results) == []


def test_equal_to_data_juicer_live(tmp_path: Path) -> None:
    environment = os.environ.get("STEEL_DATA_JUICER")
    if not environment:
        pytest.skip("STEEL_DATA_JUICER names no environment with data-juicer")
    live = run_data_juicer(Path(environment), texts_to_clean(LIVE_TEXTS, seed=os.getpid()), tmp_path)
    for (name, parameters), results in zip(OPERATIONS, live["results"], strict=True):
        assert differences(name, parameters, live["texts"], results) == []


def test_the_whole_recipe_of_the_ancestor_is_taken(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "project_name: x\ndataset_path: in.jsonl\nexport_path: out.jsonl\nnp: 3\nopen_tracer: true\nprocess:\n"
        + "".join(f"  - {name}:\n" for name in dict.fromkeys(name for name, _ in OPERATIONS if name not in NEEDED))
        + "  - document_simhash_deduplicator:\n      tokenization: space\n      window_size: 6\n"
    )
    read = read_recipe(str(recipe))
    assert (read.dataset_path, read.export_path, read.workers) == ("in.jsonl", "out.jsonl", 3)
    assert read.passed_over == ("document_simhash_deduplicator",)
    assert len(read.build()) == len({name for name, _ in OPERATIONS} - set(NEEDED))


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        made = run_data_juicer(Path(sys.argv[1]), texts_to_clean(RECORDED_TEXTS, seed=4), Path(temporary))
    RECORDED.write_bytes(gzip.compress(json.dumps(made, ensure_ascii=True).encode(), mtime=0))
