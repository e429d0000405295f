"""Comparing datasets and packings, against counting by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.megatron_files import write_megatron
from steel_megatron.reports import compare as compare_module
from steel_megatron.reports.compare import compare_datasets, comparison_text
from steel_megatron.tokens.indexed import IndexedDataset

docs = st.lists(st.lists(st.lists(st.integers(0, 2), max_size=3), max_size=2), max_size=8)


@settings(max_examples=60, deadline=None)
@given(docs, docs, st.integers(1, 4))
def test_what_two_datasets_share(one: list, two: list, block: int) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare_module, "BLOCK", block)
        found = compare_datasets(
            write_megatron(f"{folder}/one", one, "uint16"), write_megatron(f"{folder}/two", two, "int32")
        )
    flat = [[tuple(token for sequence in document for token in sequence) for document in side] for side in (one, two)]
    assert found.documents == (len(one), len(two))
    assert found.shared == sum((Counter(flat[0]) & Counter(flat[1])).values())
    different = [n for n in range(max(map(len, flat))) if flat[0][n : n + 1] != flat[1][n : n + 1]]
    assert found.first_difference == (different[0] if different else None)
    assert found.same_tokenizer is None
    assert ("same order" in comparison_text(found)) is (not different)


def test_the_document_of_a_token(tmp_path: Path) -> None:
    dataset = IndexedDataset(write_megatron(tmp_path / "data", [[], [[], [5], [6, 7]], [], [[8], []], [[]]], "int32"))
    assert [dataset.document_at(token) for token in range(4)] == [1, 1, 1, 3]
    for token in (-1, 4):
        with pytest.raises(IndexError):
            dataset.document_at(token)
