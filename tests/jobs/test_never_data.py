"""What is never data: by its name alone, or by what the file beside it says."""

from __future__ import annotations

import pytest

from steel_megatron.jobs.never_data import HIDDEN, JUNK, OURS, why_never


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a.jsonl", ""),
        ("report.json", ""),  # anybody may call a file so
        ("work/a.jsonl", ""),
        ("out.jsonl.manifest.json", OURS),
        ("out.rejects.jsonl", OURS),
        ("out.jsonl.parts/000.jsonl", OURS),
        ("dedup/.work/000.jsonl", OURS),
        (".cache/a.jsonl", HIDDEN),
        ("in/.a.jsonl", HIDDEN),
        ("__MACOSX/a.jsonl", JUNK),
        ("in/Thumbs.db", JUNK),
        (".work/", OURS),
        ("__pycache__/", JUNK),
        ("", ""),
    ],
)
def test_by_name(name: str, why: str) -> None:
    assert why_never(name) == why


def folder(**files: bytes) -> dict[str, bytes]:
    return {f"in/{name.replace('__', '.')}": content for name, content in files.items()}


@pytest.mark.parametrize(
    ("files", "ours"),
    [
        (folder(report__json=b'{"sources": {}, "near_by_jaccard": {}}'), True),
        (folder(report__json=b'{"sources": {}}'), False),
        (folder(report__json=b"[1]"), False),
        (folder(report__json=b"no JSON"), False),
        ({"in/.work/plan.json": b"{}"}, True),  # a run that is not finished
        ({"report.json": b'{"sources": {}, "near_by_jaccard": {}}'}, False),  # of another folder
    ],
)
def test_rejects_of_a_dedup_run_are_told_by_its_report(files: dict[str, bytes], ours: bool) -> None:
    assert why_never("in/rejects.jsonl", files.get) == (OURS if ours else "")
    assert why_never("in/others.jsonl", files.get) == ""


def test_files_of_a_tokenizer_are_told_by_its_config() -> None:
    files = folder(tokenizer_config__json=b'{"tokenizer_class": "PreTrainedTokenizerFast"}')
    assert why_never("in/vocab.json", files.get) == OURS
    assert why_never("vocab.json", files.get) == ""
