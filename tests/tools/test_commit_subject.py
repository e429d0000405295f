"""Subjects of commits, as the hook before a commit takes them."""

from __future__ import annotations

from pathlib import Path

import commit_subject
import pytest


@pytest.mark.parametrize(
    "message", ["tokens: read frames apart\n\nBecause.", "readme: two commands", "Merge branch 'x'", "a: " + "b" * 69]
)
def test_good_subjects(message: str) -> None:
    assert commit_subject.fault(message) == ""


@pytest.mark.parametrize("message", ["", "no area", "tokens:", "tokens:x", "a: " + "b" * 70, "a: " + "字" * 70])
def test_bad_subjects(message: str) -> None:
    assert commit_subject.fault(message)


def test_the_hook_tells_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "COMMIT_EDITMSG"
    monkeypatch.setattr("sys.argv", ["commit_subject.py", str(file)])
    for text, status in (("a: b\n", 0), ("b\n", 1)):
        file.write_text(text)
        assert commit_subject.main() == status
    assert "area: what" in capsys.readouterr().err
