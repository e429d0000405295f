"""Training a byte-level BPE."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.sample_texts import TEXTS
from steel_megatron.config import ConfigError, DataError
from steel_megatron.tokenizer.byte_bpe import QWEN_SPECIAL_TOKENS
from steel_megatron.tokenizer.hf_folder import write_folder
from steel_megatron.tokenizer.huggingface import HuggingFaceTokenizer
from steel_megatron.tokenizer.train import train_bpe

CORPUS = ["人工智能是一门学科。人工智能的研究。", "def f(x):\n    return x\n", "the cat and the dog"] * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_folder(train_bpe(iter(CORPUS), 310), QWEN_SPECIAL_TOKENS, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder):
    return HuggingFaceTokenizer(folder)


def test_it_has_the_size_asked_for(tokenizer):
    assert tokenizer.vocab_size == 310
    assert tokenizer.special_tokens == {"<|endoftext|>": 307, "<|im_start|>": 308, "<|im_end|>": 309}
    assert tokenizer.eod_id == 307


def test_it_learns_chinese_words(tokenizer):
    assert len(tokenizer.encode("人工智能")) == 1
    assert len(tokenizer.encode("    return")) <= 3


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=100))
def test_any_text_comes_back_normalised(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == unicodedata.normalize("NFC", text)


def test_control_marks_in_the_corpus_are_characters(tokenizer):
    assert max(tokenizer.encode(TEXTS["control marks"])) < 307


def test_transformers_loads_it(folder, tokenizer):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(folder)
    assert len(theirs) == 310
    assert theirs.eos_token == "<|endoftext|>"
    assert theirs("<|im_start|>")["input_ids"] == [308]
    for text in TEXTS.values():
        if "<|" not in text:
            assert theirs(text)["input_ids"] == tokenizer.encode(text)
            assert theirs.decode(tokenizer.encode(text)) == unicodedata.normalize("NFC", text)


def test_training_again_gives_the_same_ids(folder, tokenizer, tmp_path):
    write_folder(train_bpe(iter(CORPUS), 310), QWEN_SPECIAL_TOKENS, tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_own_special_tokens(tmp_path):
    write_folder(train_bpe(CORPUS, 300, ["<eod>", "<|endoftext|>"]), ["<eod>", "<|endoftext|>"], tmp_path)
    tokenizer = HuggingFaceTokenizer(tmp_path)
    assert tokenizer.special_tokens == {"<eod>": 298, "<|endoftext|>": 299}
    assert tokenizer.eod_id == 299


def test_what_cannot_work():
    with pytest.raises(ConfigError, match="use 259 or more"):
        train_bpe(CORPUS, 258)
    with pytest.raises(ConfigError, match="at most 16777215"):
        train_bpe(CORPUS, 1 << 24)
    with pytest.raises(ConfigError, match="each is given once"):
        train_bpe(CORPUS, 300, ["<a>", "<a>"])
    with pytest.raises(DataError, match="no text"):
        train_bpe([""], 300)
