"""Reports of a dataset as people read them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import strategies as st

from steel_megatron.reports.inspect import inspect_dataset
from steel_megatron.reports.inspect_text import dataset_text
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokens.tokenise.run import tokenize

documents = st.lists(st.lists(st.lists(st.just(1), max_size=20), max_size=3), max_size=12)


@pytest.fixture
def tokenized(tmp_path: Path) -> str:
    """A dataset of three documents with a manifest."""
    (tmp_path / "in.jsonl").write_text('{"text": "1 2 3"}\n{"text": ""}\nbroken\n{"text": "4 50"}\n')
    tokenize([tmp_path / "in.jsonl"], tmp_path / "data", build_tokenizer("NullTokenizer", None, 100), append_eod=True)
    return str(tmp_path / "data_text_document")


def test_report_and_its_text(tokenized: str) -> None:
    report = inspect_dataset(tokenized)
    assert (report.documents, report.sequences, report.tokens, report.dtype) == (3, 2, 7, "uint16")
    assert (report.bin_bytes, report.idx_bytes) == (14, 34 + 12 * 2 + 8 * 4)
    assert report.manifest is not None
    text = dataset_text(report)
    for part in (
        "7 (uint16)",
        "NullTokenizer, 101 ids",
        "end with id 100",
        "1 files, 55 bytes",
        "bad_json 1",
        "50% 3",
    ):
        assert part in text
    assert "2-3  ##############################   33.33 %        42.86 %" in text
