"""``steel dedup-lines`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.dedup_runs import lines_of, write_source
from steel_megatron.cli.main import main


def test_lines_go_and_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path, "web", [f"首页 > 新闻\n第 {n} 篇" for n in range(4)] + ["首页 > 新闻"])
    with source.open("a") as file:
        file.write("no record\n")
    words = ["dedup-lines", "--input", f"web={source}", "--output", str(tmp_path / "out"), "--in-documents", "5"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "web  4 of 6 records kept, 4 of them without 5 lines; 1 had no other lines, 1 invalid" in told
    assert "         5 documents of web: 首页 > 新闻" in told
    kept = [json.loads(line)["text"] for line in lines_of(tmp_path / "out" / "web" / "web.jsonl.zst")]
    assert kept == [f"第 {n} 篇" for n in range(4)]
    assert main([*words, "--strict"]) == 1
    assert "nothing to do" in capsys.readouterr().out
    assert main([*words, "--in-documents", "1"]) == 2
