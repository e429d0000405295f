"""One source: its files, what tells it from another, and whether the model can read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.megatron_files import write_megatron
from steel_megatron.config import DataError
from steel_megatron.samples.sources import TokenizerFacts, check_files, check_tokenizer, open_source
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokens.tokenise.run import tokenize


@pytest.fixture
def tokenized(tmp_path: Path) -> str:
    (tmp_path / "in.jsonl").write_text('{"text": "1 2 3"}\n{"text": "4 50"}\n')
    tokenize([tmp_path / "in.jsonl"], tmp_path / "data", build_tokenizer("NullTokenizer", None, 100), append_eod=True)
    return str(tmp_path / "data_text_document")


def test_a_prefix_that_is_meant(tokenized: str, tmp_path: Path) -> None:
    check_files("web", tokenized)
    for given in (f"{tokenized}.bin", str(tmp_path), str(tmp_path / "data")):
        with pytest.raises(DataError, match=f"did you mean {tokenized}\\?"):
            check_files("web", given)
    with pytest.raises(DataError, match="steel tokenize"):
        check_files("web", str(tmp_path / "other"))


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    prints = [
        open_source("x", write_megatron(tmp_path / str(n), documents, "int32"), 2, None).fingerprint
        for n, documents in enumerate(([[[1, 2, 3]]], [[[1, 2, 3]]], [[[1, 2, 4]]], [[[1, 2]], [[3]]]))
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_the_model_and_the_data_agree(tokenized: str) -> None:
    source = open_source("web", tokenized, 2, None)
    assert source.manifest is not None
    own = source.manifest.tokenizer
    assert check_tokenizer([source], TokenizerFacts()) == TokenizerFacts(own.fingerprint, own.vocab_size, own.eod_id)
    with pytest.raises(DataError, match="one tokenizer"):
        check_tokenizer([source], TokenizerFacts(fingerprint="another"))
    needed = source.manifest.vocabulary_needed
    with pytest.raises(DataError, match=f"set --vocab-size to {needed}"):
        check_tokenizer([source], TokenizerFacts(vocab_size=needed - 1))
    assert check_tokenizer([source], TokenizerFacts(vocab_size=needed, eod_id=7)).eod_id == 7


def test_a_manifest_of_other_files(tokenized: str) -> None:
    write_megatron(tokenized, [[[1, 2]]], "uint16")
    with pytest.raises(DataError, match="has 1 documents, its manifest tells of 2"):
        open_source("web", tokenized, 2, None)
