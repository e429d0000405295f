"""What is told of a dataset, against counting by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import strategies as st

from helpers.megatron_files import write_megatron
from steel_megatron.config import DataError
from steel_megatron.reports.inspect import inspect_dataset, inspect_document, verify
from steel_megatron.reports.inspect_text import dataset_text, document_text, verification_text
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokens.tokenise.run import tokenize

documents = st.lists(st.lists(st.lists(st.just(1), max_size=20), max_size=3), max_size=12)


@pytest.fixture
def tokenized(tmp_path: Path) -> str:
    """A dataset of three documents with a manifest."""
    (tmp_path / "in.jsonl").write_text('{"text": "1 2 3"}\n{"text": ""}\nbroken\n{"text": "4 50"}\n')
    tokenize([tmp_path / "in.jsonl"], tmp_path / "data", build_tokenizer("NullTokenizer", None, 100), append_eod=True)
    return str(tmp_path / "data_text_document")


def test_a_dataset_without_documents(tmp_path: Path) -> None:
    prefix = write_megatron(tmp_path / "data", [], "int32")
    report = inspect_dataset(prefix)
    assert (report.documents, report.tokens, report.lengths, report.manifest) == (0, 0, None, None)
    assert "documents  0" in dataset_text(report)
    found = verify(prefix)
    assert (found.smallest_id, found.largest_id, found.hashes_checked) == (None, None, False)
    assert "none" in verification_text(found)
    with pytest.raises(DataError, match="it has no document"):
        inspect_document(prefix, 0, None)


def test_one_document(tokenized: str) -> None:
    tokenizer = build_tokenizer("NullTokenizer", None, 100)
    document = inspect_document(tokenized, 2, tokenizer)
    assert (document.ids, document.sequence_lengths) == ([4, 50, 100], [3])
    assert document.text == tokenizer.decode([4, 50, 100])
    assert document_text(document).splitlines() == [
        f"document 2 of {tokenized}: 3 tokens, 1 sequence(s)",
        tokenizer.decode([4, 50, 100]),
    ]
    assert inspect_document(tokenized, 1, None).ids == []
    assert document_text(inspect_document(tokenized, 0, None)).endswith("\n1 2 3 100")
    for number in (3, -1):
        with pytest.raises(DataError, match=rf"document {number} .*\n.*documents are 0 to 2"):
            inspect_document(tokenized, number, None)


def test_a_tokenizer_that_did_not_make_the_data(tokenized: str, tmp_path: Path) -> None:
    other = build_tokenizer("NullTokenizer", None, 40)
    with pytest.raises(DataError, match="was made with tokenizer"):
        inspect_document(tokenized, 0, other)
    Path(f"{tokenized}.manifest.json").unlink()
    with pytest.raises(DataError, match=r"ids 4 to 100 here\n.*ids are 0 to 40"):
        inspect_document(tokenized, 2, other)
    floats = write_megatron(tmp_path / "floats", [[[0.5]]], "float32")
    assert inspect_document(floats, 0, None).ids == [0.5]
    with pytest.raises(DataError, match="float32"):
        inspect_document(floats, 0, other)


def test_verification_reads_everything(tokenized: str) -> None:
    done: list[int] = []
    found = verify(tokenized, done.append)
    assert (found.smallest_id, found.largest_id, found.hashes_checked) == (1, 100, True)
    assert sum(done) == 14
    assert "ids: 1 to 100" in verification_text(found)
    assert "hashes of .bin and .idx agree" in verification_text(found)


@pytest.mark.parametrize(
    ("name", "at", "problem"),
    [
        ("bin", 0, r"\.bin has SHA-256"),
        ("idx", 34 + 24 + 8, r"\.idx has SHA-256"),
        ("idx", 34, "byte 50: sequence 1 begins at byte 8"),
    ],
)
def test_verification_finds_a_changed_byte(tokenized: str, name: str, at: int, problem: str) -> None:
    content = bytearray(Path(f"{tokenized}.{name}").read_bytes())
    content[at] ^= 1
    Path(f"{tokenized}.{name}").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        verify(tokenized)


def test_verification_compares_ids_with_the_manifest(tokenized: str) -> None:
    path = Path(f"{tokenized}.manifest.json")
    path.write_text(path.read_text().replace('"largest_id": 100', '"largest_id": 99'))
    with pytest.raises(DataError, match="has ids up to 100, its manifest says 99"):
        verify(tokenized)
    path.write_text(path.read_text().replace('"documents": 3', '"documents": 4'))
    for call in (verify, inspect_dataset):
        with pytest.raises(DataError, match="has 3 documents, its manifest tells of 4"):
            call(tokenized)
