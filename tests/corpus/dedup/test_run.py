"""Whole runs on small files: what is kept, what falls and why, and that nothing changes by how it is worked through."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.dedup_runs import contents, fallen, kept_ids, lines_of, run_dedup, write_source
from helpers.planted_duplicates import Writer, plant
from helpers.shingle_reference import jaccard
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.dedup import DedupSettings, SourceInput, deduplicate, run

partitions = run._partitions
LONG = "床前明月光，疑是地上霜。举头望明月，低头思故乡。" * 3 + "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"
NEAR = LONG + "完。"
OTHER = "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。千山鸟飞绝，万径人踪灭。孤舟蓑笠翁，独钓寒江雪。"


def test_the_source_first_in_priority_keeps_its_documents(tmp_path: Path) -> None:
    done = run_dedup(
        tmp_path,
        {"web": [LONG, OTHER, NEAR], "wiki": [OTHER + "\n", "独有的一篇文章"], "books": [f"  {LONG}"]},
        priority=["wiki", "books"],
    )
    assert kept_ids(done) == ["wiki/0", "wiki/1", "books/0"]
    entries = fallen(done)
    assert {name: (entry["reason"], entry["kept_input"], entry["kept_id"]) for name, entry in entries.items()} == {
        "web/0": ("exact", "books", "books/0"),
        "web/1": ("exact", "wiki", "wiki/0"),
        "web/2": ("near", "books", "books/0"),
    }
    assert entries["web/2"]["line"] == 3
    assert entries["web/2"]["jaccard"] == pytest.approx(jaccard(LONG, NEAR), abs=0.12)
    assert done.report["pairs"] == [
        {"dropped": "web", "kept": "books", "exact": 1, "near": 1},
        {"dropped": "web", "kept": "wiki", "exact": 1, "near": 0},
    ]


def test_pages_with_much_boilerplate_fall_only_for_a_page_like_them(tmp_path: Path) -> None:
    writer = Writer(5, chinese=True)
    boilerplate = writer.paragraph(600)
    pages = [f"{boilerplate}\n{writer.paragraph(350)}" for _ in range(20)]
    # Between them stand pages that are half of one and half of the next: chains from each to the next.
    between = [f"{one[: len(one) * 4 // 5]}{two[len(two) * 4 // 5 :]}" for one, two in itertools.pairwise(pages)]
    threshold = 0.6
    lost = {}
    for against in ("kept", "any"):
        given = DedupSettings(threshold=threshold, against=against)
        done = run_dedup(tmp_path, {"s": [*between, *pages]}, output=against, settings=given)
        entries = fallen(done).values()
        lost[against] = sum(entry["jaccard"] < threshold for entry in entries)
        assert len(entries) > 3
    assert lost["kept"] == 0 < lost["any"]


def test_a_traditional_text_is_a_near_duplicate_of_its_simplified_one(tmp_path: Path) -> None:
    traditional = LONG.translate(str.maketrans("举头乡尽层楼", "舉頭鄉盡層樓"))
    assert traditional != LONG
    done = run_dedup(tmp_path, {"web": [LONG], "tw": [traditional]}, priority=["tw"])
    assert kept_ids(done) == ["tw/0"]
    assert (fallen(done)["web/0"]["reason"], fallen(done)["web/0"]["jaccard"]) == ("near", 1.0)


def test_kept_lines_are_as_they_came(tmp_path: Path) -> None:
    lines = [
        b'{"id": "a", "text":"\\u6c49 \\/ one",   "source":"s", "extra": [1.50, null], "control": [[0, 1]]}',
        '{"text": "尾 two", "source": "s"}'.encode(),
        b'  {"text": "half \\ud800 a pair", "id": "\\ud800"}',
        b'{"text": "nan", "x": NaN}\r',
    ]
    path = tmp_path / "s.jsonl"
    path.write_bytes(b"\n\n".join(lines))
    done = deduplicate([SourceInput("s", str(path))], tmp_path / "out")
    assert lines_of(done.output / "s" / "s.jsonl.zst") == [line + b"\n" for line in lines]


def test_what_is_no_record_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'{"text": "one"}\n{"text": 5}\n\n[1]\n{"text": "cut\n{"text": "\xff"}\n{"text": "two"}\n')
    done = deduplicate([SourceInput("s", str(path))], tmp_path / "out")
    counts = done.report["sources"]["s"]
    assert (counts["records"], counts["kept"], counts["invalid"]) == (6, 2, 4)
    rejects = [json.loads(line) for line in lines_of(done.output / "rejects.jsonl")]
    assert [(entry["line"], entry["reason"]) for entry in rejects] == [(n, "invalid") for n in (2, 4, 5, 6)]
    assert rejects[1]["content"] == "[1]"


def test_documents_without_shingles_are_compared_exactly_and_never_by_emptiness(tmp_path: Path) -> None:
    texts = [
        "",
        "",
        " \n",
        "\u200b",
        "好",
        "好 ",
        "坏",
        "！！！",
        "！！！",
        "？？？",
        "四个汉字",
        "四个汉子",
        "a b c d",
        "a b c e",
    ]
    done = run_dedup(tmp_path, {"s": texts})
    entries = fallen(done)
    assert {name: entry["kept_id"] for name, entry in entries.items()} == {"s/5": "s/4", "s/8": "s/7"}
    assert {entry["reason"] for entry in entries.values()} == {"exact"}
    assert len(kept_ids(done)) == len(texts) - 2


def test_exact_only_leaves_near_duplicates(tmp_path: Path) -> None:
    done = run_dedup(tmp_path, {"s": [LONG, NEAR, LONG]}, settings=DedupSettings(exact_only=True))
    assert kept_ids(done) == ["s/0", "s/1"]


def test_the_copy_of_a_near_duplicate_falls_with_it(tmp_path: Path) -> None:
    done = run_dedup(tmp_path, {"s": [LONG, NEAR, NEAR]})
    entries = fallen(done)
    assert {name: (entry["reason"], entry["kept_id"]) for name, entry in entries.items()} == {
        "s/1": ("near", "s/0"),
        "s/2": ("near", "s/0"),
    }
    assert entries["s/1"]["jaccard"] == entries["s/2"]["jaccard"] < 1


def planted(count: int = 12) -> dict[str, list[str]]:
    documents = [*plant(count, 5, chinese=True, units=(60, 300)), *plant(count, 6, chinese=False, units=(60, 300))]
    random.Random(0).shuffle(documents)
    return {name: [document.text for document in documents[at::3]] for at, name in enumerate("abc")}


def test_outputs_do_not_depend_on_workers_or_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = planted()
    options: dict[str, Any] = {"part_bytes": 1 << 14, "priority": ["c", "a"]}
    one = run_dedup(tmp_path, sources, "one", **options)
    assert any(one.report["sources"][name]["near"] for name in "abc")
    with monkeypatch.context() as patch:
        patch.setattr(run, "BYTES_PER_WORKER", 1)
        patch.setattr(run, "DOCUMENTS_PER_WORKER", 20)
        assert contents(run_dedup(tmp_path, sources, "two", workers=2, **options).output) == contents(one.output)
    cuts = []
    monkeypatch.setattr(run, "LEAST_TASK_BYTES", 5_000)
    monkeypatch.setattr(run, "_partitions", lambda *given: cuts.append(partitions(*given)) or cuts[-1])
    assert contents(run_dedup(tmp_path, sources, "tight", memory=1, **options).output) == contents(one.output)
    assert min(cuts[0].exact, cuts[0].bands) > 1
    assert cuts[0].documents_per_range < 10


def test_what_is_kept_does_not_depend_on_the_cut_or_the_packing(tmp_path: Path) -> None:
    sources = planted()
    whole = run_dedup(tmp_path, sources, "whole")
    for size in (5003, 30011):
        cut = run_dedup(tmp_path, sources, f"cut{size}", part_bytes=size)
        assert kept_ids(cut) == kept_ids(whole)
        assert fallen(cut) == fallen(whole)
    inputs = []
    for name, packed in (("a", ".jsonl.gz"), ("b", ".jsonl.zst"), ("c", ".jsonl")):
        data = (tmp_path / f"{name}.jsonl").read_bytes()
        path = tmp_path / "packed" / f"{name}{packed}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes({"z": gzip.compress, "t": zstandard.compress}.get(packed[-1], bytes)(data))
        inputs.append(SourceInput(name, str(path)))
    inputs[1] = SourceInput("b", str(tmp_path / "packed" / "b*"))
    done = deduplicate(inputs, tmp_path / "from_packed")
    assert kept_ids(done) == kept_ids(whole)


WORDS = st.sampled_from(["天", "地", "人", "和", "one", "two", "，"])


@given(st.lists(st.lists(WORDS, min_size=0, max_size=14).map(" ".join), max_size=8))
@settings(max_examples=30, deadline=None)
def test_small_sets_against_exact_jaccard(texts: list[str]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        done = run_dedup(folder, {"s": texts})
        entries = fallen(done)
    finally:
        shutil.rmtree(folder)
    plain = [" ".join(text.split()) for text in texts]
    for name, entry in entries.items():
        dropped, kept = int(name[2:]), int(entry["kept_id"][2:])
        assert kept < dropped
        if entry["reason"] == "exact":
            assert plain[dropped] == plain[kept] != ""
        else:  # joined by a chain of documents, each like the next
            reached = {kept}
            for _ in texts:
                reached |= {b for b in range(len(texts)) for a in reached if jaccard(texts[a], texts[b]) >= 0.55}
            assert dropped in reached
    for later in range(len(texts)):
        for earlier in range(later):
            if jaccard(texts[earlier], texts[later]) == 1 or plain[earlier] == plain[later] != "":
                assert f"s/{later}" in entries


def test_a_finished_run_is_not_done_again_and_another_is_not_overwritten(tmp_path: Path) -> None:
    first = run_dedup(tmp_path, {"s": [LONG, NEAR]})
    before = contents(first.output)
    again = run_dedup_again(tmp_path)
    assert again.done_before
    assert again.report == first.report
    with pytest.raises(DataError, match="other files or settings"):
        run_dedup_again(tmp_path, settings=DedupSettings(threshold=0.9))
    assert contents(first.output) == before
    replaced = run_dedup_again(tmp_path, settings=DedupSettings(threshold=1.0), overwrite=True)
    assert not replaced.done_before
    assert kept_ids(replaced) == ["s/0", "s/1"]


def run_dedup_again(folder: Path, **options: Any) -> Any:
    return deduplicate([SourceInput("s", str(folder / "s.jsonl"))], folder / "out", **options)


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="not empty"):
            run_dedup(tmp_path, {"s": ["x"]}, overwrite=overwrite)


def test_an_output_that_is_a_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        run_dedup(tmp_path, {"s": ["x"]})


def test_wrong_names_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean wiki"):
        run_dedup(tmp_path, {"wiki": ["x"]}, priority=["wikl"])
    with pytest.raises(ConfigError, match="NAME=FILE"):
        SourceInput.parse("../up=x", "--input")
    path = write_source(tmp_path, "s", ["x"])
    with pytest.raises(DataError, match="given twice"):
        deduplicate([SourceInput("a", str(path)), SourceInput("b", str(path))], tmp_path / "out")
    with pytest.raises(DataError, match="no input file at"):
        deduplicate([SourceInput("a", str(tmp_path / "*.none"))], tmp_path / "out")
    (tmp_path / "array.json").write_text('[{"text": "x"}]')
    with pytest.raises(DataError, match="JSON object"):
        deduplicate([SourceInput("a", str(tmp_path / "array.json"))], tmp_path / "out")


def test_nothing_in_nothing_out(tmp_path: Path) -> None:
    done = run_dedup(tmp_path, {"s": []})
    assert kept_ids(done) == []
    assert done.report["sources"]["s"]["records"] == 0
