"""The plan of a run: its files and parts, what makes it another plan, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.dedup_runs import write_source
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.dedup.plan import Plan, make_plan, output_of
from steel_megatron.corpus.dedup.settings import DedupSettings, SourceInput


def plan_of(*sources: tuple[str, Path], priority: tuple[str, ...] = (), **settings: float) -> Plan:
    inputs = [SourceInput(name, str(path)) for name, path in sources]
    return make_plan(inputs, priority, DedupSettings(**settings), [])  # type: ignore[arg-type]


def test_files_parts_and_outputs(tmp_path: Path) -> None:
    web = write_source(tmp_path, "web", [f"text {n}" for n in range(50)])
    wiki = write_source(tmp_path, "wiki", ["text"])
    plan = plan_of(("web", web), ("wiki", wiki), priority=("wiki",)).cut(500)
    assert [output_of(file) for file in plan.files] == ["wiki/wiki.jsonl.zst", "web/web.jsonl.zst"]
    assert [part.number for part in plan.parts] == list(range(len(plan.parts)))
    by_file = plan.parts_of
    assert [len(by_file[file]) > 1 for file in plan.files] == [False, True]
    again = plan_of(("web", web), ("wiki", wiki), priority=("wiki",)).cut(1 << 20, plan.content()["parts"])
    assert again == plan  # a run that goes on has the parts it had
    assert plan != plan_of(("web", web), ("wiki", wiki), priority=("wiki",), threshold=0.8).cut(500)
    assert plan != plan_of(("web", web), ("wiki", wiki)).cut(500)


def test_what_is_refused(tmp_path: Path) -> None:
    web = write_source(tmp_path, "web", ["text"])
    (tmp_path / "array.jsonl").write_text('[{"text": "a"}]')
    with pytest.raises(DataError, match="is given twice"):
        plan_of(("web", web), ("other", web))
    with pytest.raises(ConfigError, match=r"an input named report\.json"):
        plan_of(("report.json", web))
    with pytest.raises(DataError, match="no JSON object a line"):
        plan_of(("web", tmp_path / "array.jsonl"))
    packed = tmp_path / "more" / "web.jsonl"
    packed.parent.mkdir()
    packed.write_bytes(web.read_bytes())
    with pytest.raises(DataError, match=r"would be written to web/web\.jsonl\.zst"):
        plan_of(("web", web), ("web", packed))
