"""Where the tokenizer of a run is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.small_sentencepiece import LIKE_LLAMA, small_sentencepiece
from helpers.small_tokenizer import SMALL_VOCABULARY, small_tiktoken, small_tokenizer
from steel_megatron.config import DataConfig, DataError
from steel_megatron.huggingface.tokenizers import (
    COPY,
    check_ids,
    keep_tokenizer,
    load_tokenizer,
    tokenizer_of_folder,
    tokenizer_of_run,
)
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokenizer.null import NullTokenizer


@pytest.mark.parametrize("kind", ["HuggingFaceTokenizer", "TikTokenizer", "SentencePieceTokenizer"])
def test_the_runs_copy_is_the_tokenizer_of_training(kind, tmp_path):
    source = {
        "HuggingFaceTokenizer": lambda: small_tokenizer(tmp_path / "source"),
        "TikTokenizer": lambda: small_tiktoken(tmp_path / "source.tiktoken"),
        "SentencePieceTokenizer": lambda: small_sentencepiece(tmp_path / "source.model", **LIKE_LLAMA),
    }[kind]()
    trained_with = build_tokenizer(None, source)
    assert trained_with.type == kind
    trained_with.save_pretrained(tmp_path / "run" / "tokenizer")
    data = DataConfig(tokenizer_model="/gone/since")
    found = tokenizer_of_run(tmp_path / "run", data, None, trained_with.fingerprint)
    assert found is not None
    assert found.fingerprint == trained_with.fingerprint
    text = "人工智能 quick brown fox"
    assert found.encode(text) == trained_with.encode(text)


def test_without_a_copy_the_configuration_tells(tmp_path, monkeypatch):
    small_tokenizer(tmp_path / "run" / "own")
    small_tokenizer(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    for model in ("here", "own", str(tmp_path / "here")):  # from here, from the run's folder, absolute
        found = tokenizer_of_run(tmp_path / "run", DataConfig(tokenizer_model=model), None)
        assert found is not None
        assert found.vocab_size == SMALL_VOCABULARY


def test_a_tokenizer_that_is_gone_is_named_with_the_flag(tmp_path):
    with pytest.raises(DataError, match=r"(?s)/gone/since.*--tokenizer-model"):
        tokenizer_of_run(tmp_path, DataConfig(tokenizer_model="/gone/since"), None)


def test_a_given_one_wins(tmp_path):
    small_tokenizer(tmp_path / "run" / "tokenizer")
    tiktoken = small_tiktoken(tmp_path / "given.tiktoken")
    found = tokenizer_of_run(tmp_path / "run", DataConfig(), None, given=str(tiktoken))
    assert found is not None
    assert found.type == "TikTokenizer"


def test_runs_on_numbers_have_the_null_tokenizer(tmp_path):
    found = tokenizer_of_run(tmp_path, DataConfig(tokenizer_type="NullTokenizer"), 101)
    assert found is not None
    assert found.vocab_size == 101
    assert tokenizer_of_run(tmp_path, DataConfig(), 101) is None
    trained_with = build_tokenizer("NullTokenizer", None, 101)
    found = tokenizer_of_run(tmp_path, DataConfig(tokenizer_type="NullTokenizer"), 101, trained_with.fingerprint)
    assert found is not None
    assert found.fingerprint == trained_with.fingerprint


def test_a_folder_may_have_none(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert tokenizer_of_folder(tmp_path) is None
    with pytest.raises(DataError, match="AutoTokenizer"):
        load_tokenizer(tmp_path)


def test_a_copy_takes_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / COPY).mkdir()
    (tmp_path / COPY / "old").write_text("x")
    assert not keep_tokenizer(NullTokenizer(5), tmp_path)  # it has no Hugging Face form
    assert [path.name for path in tmp_path.rglob("*")] == [COPY, "old"]
    assert keep_tokenizer(build_tokenizer(None, small_tokenizer(tmp_path / "source")), tmp_path)
    assert {path.name for path in (tmp_path / COPY).iterdir()} >= {"tokenizer.json", "tokenizer_config.json"}
    assert not (tmp_path / COPY / "old").exists()


def test_a_model_has_every_id_of_its_tokenizer() -> None:
    check_ids(NullTokenizer(5), 6)
    with pytest.raises(DataError, match="6 ids, the model 5"):
        check_ids(NullTokenizer(5), 5)
