"""``steel dedup`` from its flags to its words."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.dedup_runs import lines_of, write_source
from steel_megatron.cli.main import main

TEXT = "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。寒来暑往，秋收冬藏。"


def test_flags_reach_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web, wiki = write_source(tmp_path, "web", [TEXT, TEXT + "闰余成岁"]), write_source(tmp_path, "wiki", [TEXT + "。"])
    exam = tmp_path / "exam.jsonl"
    exam.write_text('{"text": "闰余成岁律吕调阳云腾致雨露结为霜金生丽水"}\n')
    command = [
        "dedup",
        "--input",
        f"web={web}",
        f"wiki={wiki}",
        "--priority",
        "wiki",
        "--output",
        str(tmp_path / "out"),
    ]
    command += ["--decontaminate", f"exam={exam}", "--threshold", "0.6", "--memory", "1G"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "wiki  1 of 1 records kept" in said
    assert "web   0 of 2 records kept; 0 exact, 2 near" in said
    assert "exam: 0 documents hold one of its 1 questions" in said
    assert len(lines_of(tmp_path / "out" / "duplicates.jsonl.zst")) == 2
    assert main(command) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--memory", "lots"], "--memory lots"),
        (["--threshold", "0.1"], "--threshold 0.1"),
        (["--priority", "books"], "--priority names 'books'"),
        (["--decontaminate", "exam.csv"], "--decontaminate exam.csv"),
        (["--contamination-share", "0"], "--contamination-share 0"),
    ],
)
def test_wrong_flags_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], says: str) -> None:
    web = write_source(tmp_path, "web", [TEXT])
    assert main(["dedup", "--input", f"web={web}", "--output", str(tmp_path / "out"), *flags]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
