"""Whole runs: which lines go, that the bytes are the same however it is worked through, and after a kill."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from helpers.dedup_runs import contents, lines_of, write_source
from steel_megatron.config import DataError
from steel_megatron.corpus.dedup import Deduplicated, SourceInput
from steel_megatron.corpus.repeated_lines import LineSettings, remove_lines, run
from steel_megatron.jobs.tasks import Task

FOOTER = "版权所有 © 某某网站 未经许可不得转载"


def pages(seed: int, count: int = 60) -> list[str]:
    """Texts of own lines, some of them of a few pages, between a site's lines."""
    chosen = random.Random(seed)
    own = [f"第 {seed} 站的第 {n} 行文字" for n in range(count * 2)]
    made = []
    for n in range(count):
        lines = ["首页 > 新闻", *chosen.sample(own, 6), f" {FOOTER}\u3000" if n % 3 else FOOTER, "", f"独有 {seed} {n}"]
        made.append("\n".join(lines[: chosen.randint(2, len(lines))]))
    return made


def removed(folder: Path, sources: dict[str, list[str]], output: str = "out", **options: Any) -> Deduplicated:
    inputs = [SourceInput(name, str(write_source(folder, name, texts))) for name, texts in sources.items()]
    return remove_lines(inputs, folder / output, **options)


def texts_of(done: Deduplicated, source: str) -> dict[str, str]:
    records = map(json.loads, lines_of(done.output / source / f"{source}.jsonl.zst"))
    return {record["id"]: record["text"] for record in records}


@pytest.mark.parametrize(("least", "shortest"), [(2, 1), (5, 1), (5, 12), (1000, 1)])
def test_lines_of_many_documents_of_a_source_go(tmp_path: Path, least: int, shortest: int) -> None:
    sources = {"a": pages(1), "b": [*pages(2), FOOTER, f"{FOOTER}\n{FOOTER}\n"]}
    done = removed(tmp_path, sources, settings=LineSettings(least, shortest))
    for name, texts in sources.items():
        counts = Counter(line for text in texts for line in {line.strip() for line in text.split("\n")})
        gone = {line for line, count in counts.items() if count >= least and len(line) >= shortest}
        expected = {}
        for n, text in enumerate(texts):
            left = [line for line in text.split("\n") if line.strip() not in gone]
            if any(line.strip() for line in left):
                expected[f"{name}/{n}"] = "\n".join(left)
        assert texts_of(done, name) == expected
        told = done.report["sources"][name]
        assert (told["records"], told["kept"], told["emptied"]) == (
            len(texts),
            len(expected),
            len(texts) - len(expected),
        )
        assert told["lines"] == sum(line.strip() in gone for text in texts for line in text.split("\n"))
        for line in done.report["most_frequent"]:
            if line["source"] == name:
                assert counts[line["line"]] == line["documents"] >= least
    documents = [line["documents"] for line in done.report["most_frequent"]]
    assert documents == sorted(documents, reverse=True)
    assert bool(documents) == (least < 1000)


def test_paragraphs_and_a_chat_templates_marks(tmp_path: Path) -> None:
    chat = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n好的，没问题<|im_end|>"
    talks = [chat.format(f"问 {n}") for n in range(4)]
    done = removed(tmp_path, {"talk": talks}, settings=LineSettings(2))
    assert list(texts_of(done, "talk").values()) == talks
    texts = [f"同样的\n两行\n\n第 {n} 段\n两行\n \n尾" for n in range(3)]
    done = removed(tmp_path, {"p": texts}, output="paragraphs", settings=LineSettings(3, unit="paragraph"))
    assert list(texts_of(done, "p").values()) == [f"第 {n} 段\n两行" for n in range(3)]


def test_other_fields_and_untouched_lines_stay_as_they_came(tmp_path: Path) -> None:
    lines = [
        b'{"id": 1, "text": "x\\nown 1", "m": [1.50]}',
        b'{"text":"x\\nown \\ud800"}',
        b'{"text":  "alone"}',
        b"[]",
    ]
    path = tmp_path / "s.jsonl"
    path.write_bytes(b"\n".join(lines))
    done = remove_lines([SourceInput("s", str(path))], tmp_path / "out", settings=LineSettings(2))
    kept = lines_of(done.output / "s" / "s.jsonl.zst")
    assert kept[0] == b'{"id":1,"text":"own 1","m":[1.5]}\n'
    assert json.loads(kept[1])["text"] == "own \ud800"
    assert kept[2] == lines[2] + b"\n"
    assert done.report["rejects"] == {"invalid": 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bytes_do_not_depend_on_how_it_is_worked_through(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {"a": pages(1), "b": pages(2)}
    whole = removed(tmp_path, sources, "whole", part_bytes=1 << 12)
    monkeypatch.setattr(run, "BYTES_PER_WORKER", 1)
    monkeypatch.setattr(run, "LEAST_TASK_BYTES", 1 << 14)  # several partitions
    other = removed(tmp_path, sources, "other", part_bytes=1 << 12, workers=workers, memory=1 << 20)
    assert contents(other.output) == contents(whole.output)
    finer = removed(tmp_path, sources, "finer", part_bytes=1 << 11, workers=workers)
    assert all(texts_of(finer, name) == texts_of(whole, name) for name in sources)
    assert removed(tmp_path, sources, "other", part_bytes=1 << 12).done_before
    with pytest.raises(DataError, match="in_documents"):
        removed(tmp_path, sources, "other", settings=LineSettings(3))


PROGRAM = """
import sys
from steel_megatron.corpus.dedup import SourceInput
from steel_megatron.corpus.repeated_lines import remove_lines
from steel_megatron.jobs.tasks import Task
finish = Task._finish
def finish_and_hang(task, paths, counts):
    if task.stem.parent.name == sys.argv[3] and task.stem.name > "000000":
        print("here", flush=True)
        sys.stdin.read()
    finish(task, paths, counts)
Task._finish = finish_and_hang
remove_lines([SourceInput("a", sys.argv[1])], sys.argv[2], part_bytes=2048)
"""


@pytest.mark.parametrize("stage", ["line_counts", "write"])
def test_a_killed_run_goes_on(tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = removed(tmp_path, {"a": pages(1)}, "whole", part_bytes=2048)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "a.jsonl"), str(tmp_path / "killed"), stage]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done: list[str] = []
    finish = Task._finish

    def note(task: Task, *rest: Any) -> None:
        done.append(f"{task.stem.parent.name}/{task.stem.name}")
        finish(task, *rest)

    monkeypatch.setattr(Task, "_finish", note)
    again = removed(tmp_path, {"a": pages(1)}, "killed", part_bytes=2048)
    assert f"{stage}/000000" not in done
    assert f"{stage}/000001" in done
    assert contents(again.output) == contents(whole.output)
