"""Statistics of documents' lengths, against counting them one by one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.megatron_files import Documents, write_megatron
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokens import document_lengths as lengths_module
from steel_megatron.tokens.document_lengths import document_lengths
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.tokens.tokenise.run import tokenize

documents = st.lists(st.lists(st.lists(st.just(1), max_size=20), max_size=3), max_size=12)


@pytest.fixture
def tokenized(tmp_path: Path) -> str:
    """A dataset of three documents with a manifest."""
    (tmp_path / "in.jsonl").write_text('{"text": "1 2 3"}\n{"text": ""}\nbroken\n{"text": "4 50"}\n')
    tokenize([tmp_path / "in.jsonl"], tmp_path / "data", build_tokenizer("NullTokenizer", None, 100), append_eod=True)
    return str(tmp_path / "data_text_document")


@given(documents, st.integers(1, 5))
def test_lengths(docs: Documents, at_once: int) -> None:
    counted = sorted(sum(map(len, document)) for document in docs)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lengths_module, "AT_ONCE", at_once)
        dataset = IndexedDataset(write_megatron(f"{folder}/data", docs, "uint8"))
        found = document_lengths(dataset)
    if not docs:
        assert found is None
        return
    assert found is not None
    assert (found.empty, found.shortest, found.longest) == (counted.count(0), counted[0], counted[-1])
    assert found.mean == pytest.approx(np.mean(counted))
    expected = np.quantile(counted, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99], method="inverted_cdf")
    assert list(found.quantiles.values()) == expected.tolist()
    assert list(found.quantiles) == ["1%", "5%", "25%", "50%", "75%", "95%", "99%"]
    for bucket in found.histogram:
        inside = [length for length in counted if bucket.first <= length <= bucket.last]
        assert (bucket.documents, bucket.tokens) == (len(inside), sum(inside))
    assert sum(bucket.documents for bucket in found.histogram) == len(docs)
    edges = [(bucket.first, bucket.last) for bucket in found.histogram]
    known = [(0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (16, 31), (32, 63)]
    assert edges == known[known.index(edges[0]) :][: len(edges)]
