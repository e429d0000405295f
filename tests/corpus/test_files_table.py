"""Corpora that are files of text: each takes one kind, and its example says what it gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.corpus_files import read_json_lines
from steel_megatron.corpus import convert_corpus, find_corpus
from steel_megatron.corpus.files_table import FILES


@pytest.mark.parametrize("name", sorted(vars(FILES)))
def test_each_row_is_found_by_its_name_and_takes_one_kind(name: str) -> None:
    corpus = find_corpus(name)
    assert (corpus.name, len(corpus.kinds)) == (name, 1)
    assert corpus.fields.keys() == corpus.example.keys()
    assert corpus.text(corpus.example, {}) == corpus.example["text"]
    assert corpus.identity(corpus.example, {}) == corpus.example.get("name")


def test_what_a_document_is(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("one\ntwo\n\nthree\n")
    texts = {}
    for name in ("text", "text_lines", "text_blocks"):
        convert_corpus(name, [tmp_path / "in"], tmp_path / f"{name}.jsonl")
        texts[name] = [document["text"] for document in read_json_lines(tmp_path / f"{name}.jsonl")]
    assert texts == {
        "text": ["one\ntwo\n\nthree\n"],
        "text_lines": ["one", "two", "three"],
        "text_blocks": ["one\ntwo", "three"],
    }
