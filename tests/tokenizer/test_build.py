"""Which tokenizer the flags name."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys

import pytest
from sentencepiece import SentencePieceTrainer

from helpers.sample_texts import TEXTS
from helpers.small_tokenizer import small_tiktoken, small_tokenizer
from steel_megatron.config import ConfigError, DataError
from steel_megatron.tokenizer import TOKENIZER_TYPES, build_tokenizer


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    model = io.BytesIO()
    lines = iter(["hello world", "你好 世界"] * 9)
    SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=model, vocab_size=400, hard_vocab_limit=False, byte_fallback=True
    )
    (folder / "sp").mkdir()
    (folder / "sp" / "tokenizer.model").write_bytes(model.getvalue())
    (folder / "tik").mkdir()
    small_tiktoken(folder / "tik" / "small.tiktoken")
    small_tokenizer(folder / "hf")
    return folder


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("hf", "HuggingFaceTokenizer"),
        ("hf/tokenizer.json", "HuggingFaceTokenizer"),
        ("sp", "SentencePieceTokenizer"),
        ("sp/tokenizer.model", "SentencePieceTokenizer"),
        ("tik", "TikTokenizer"),
        ("tik/small.tiktoken", "TikTokenizer"),
    ],
)
def test_the_kind_is_recognised(models, model, expected):
    found = build_tokenizer(None, models / model)
    assert found.type == expected
    assert found.fingerprint == build_tokenizer(expected, models / model).fingerprint


def test_types_name_themselves(models):
    built = {
        build_tokenizer("HuggingFaceTokenizer", models / "hf").type,
        build_tokenizer("SentencePieceTokenizer", models / "sp").type,
        build_tokenizer("TikTokenizer", models / "tik").type,
        build_tokenizer("NullTokenizer", None, 10).type,
    }
    assert built == set(TOKENIZER_TYPES)


@pytest.mark.parametrize("model", ["hf", "sp", "tik", None])
def test_a_pickled_tokenizer_is_the_same(models, model):
    tokenizer = build_tokenizer(None, models / model) if model else build_tokenizer("NullTokenizer", None, 999)
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.fingerprint == tokenizer.fingerprint
    text = TEXTS["control marks"] if model else "7 8 9"
    assert copy.encode(text) == tokenizer.encode(text)


def test_flags_that_cannot_work():
    with pytest.raises(ConfigError, match="did you mean HuggingFaceTokenizer"):
        build_tokenizer("HugingFaceTokenizer", "x")
    with pytest.raises(ConfigError, match="without --vocab-size"):
        build_tokenizer("NullTokenizer", None)
    with pytest.raises(ConfigError, match="--tokenizer-model"):
        build_tokenizer(None, None)
    with pytest.raises(ConfigError, match="--tokenizer-model"):
        build_tokenizer("TikTokenizer", None)


def test_what_is_missing_or_unknown_is_named(models, tmp_path):
    for missing in ("none/at/all", "./none", str(tmp_path / "none"), "none.tiktoken", "none/tokenizer.json", "x.model"):
        with pytest.raises(DataError, match="no tokenizer at"):
            build_tokenizer(None, missing)
    with pytest.raises(DataError, match="no tokenizer file"):
        build_tokenizer("TikTokenizer", "none.tiktoken")
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(DataError, match=r"it holds readme\.txt"):
        build_tokenizer(None, tmp_path)
    with pytest.raises(DataError, match="recognised by their ending"):
        build_tokenizer(None, tmp_path / "readme.txt")
    (tmp_path / "a.tiktoken").touch()
    (tmp_path / "b.tiktoken").touch()
    with pytest.raises(DataError, match=r"holds 2 \.tiktoken files"):
        build_tokenizer(None, tmp_path)


def test_no_torch_is_imported():
    code = (
        "import sys, steel_megatron.tokenizer.tiktoken, steel_megatron.tokenizer.train; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
