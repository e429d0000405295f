"""The reference vocabulary of the project, from its .tiktoken file and as a Hugging Face folder."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.qwen import qwen_vocabulary
from helpers.sample_texts import TEXTS, random_texts
from steel_megatron.tokenizer.huggingface import HuggingFaceTokenizer
from steel_megatron.tokenizer.tiktoken import TikTokenizer

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@pytest.fixture(scope="module")
def tiktoken():
    return TikTokenizer(qwen_vocabulary())


@pytest.fixture(scope="module")
def folder(tiktoken, tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen")
    tiktoken.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def hf(folder):
    return HuggingFaceTokenizer(folder)


@pytest.fixture(scope="module")
def python():
    return TikTokenizer(qwen_vocabulary(), use_tiktoken=False)


def test_sizes_and_special_tokens_are_qwens(tiktoken, hf):
    for tokenizer in (tiktoken, hf):
        assert tokenizer.vocab_size == 151_646
        assert tokenizer.eod_id == 151_643
        assert tokenizer.special_tokens == {"<|endoftext|>": 151_643, "<|im_start|>": 151_644, "<|im_end|>": 151_645}


@pytest.mark.parametrize("name", TEXTS)
def test_every_form_gives_the_same_ids(name, tiktoken, hf, python):
    ids = tiktoken.encode(TEXTS[name])
    assert hf.encode(TEXTS[name]) == ids
    assert python.encode(TEXTS[name]) == ids
    assert tiktoken.decode(ids) == hf.decode(ids) == unicodedata.normalize("NFC", TEXTS[name])


def test_random_texts_give_the_same_ids(tiktoken, hf, python):
    texts = random_texts(100)
    ours = tiktoken.encode_batch(texts)
    for other in (hf, python):
        theirs = other.encode_batch(texts)
        assert theirs.lengths_B.tolist() == ours.lengths_B.tolist()
        assert theirs.ids_T.tolist() == ours.ids_T.tolist()


@given(ANY_TEXT)
@settings(max_examples=200)
def test_any_text_gives_the_same_ids(tiktoken, hf, text):
    assert hf.encode(text) == tiktoken.encode(text)


@given(ANY_TEXT)
@settings(max_examples=200)
def test_decoding_gives_the_normalised_text(tiktoken, text):
    assert tiktoken.decode(tiktoken.encode(text)) == unicodedata.normalize("NFC", text)


def test_a_control_mark_in_text_is_ordinary_characters(tiktoken, hf, python):
    for tokenizer in (tiktoken, hf, python):
        ids = tokenizer.encode("<|im_end|>")
        assert ids == [27, 91, 318, 6213, 91, 29]
        assert max(tokenizer.encode(TEXTS["control marks"])) < 151_643


def test_the_two_forms_are_one_tokenizer(tiktoken, hf):
    assert tiktoken.fingerprint == hf.fingerprint


def test_transformers_loads_the_folder(folder, tiktoken):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(folder)
    assert len(theirs) == 151_646
    assert theirs.eos_token_id == 151_643
    assert theirs("<|im_end|>")["input_ids"] == [151_645]
    for name in ("chinese", "code", "not composed"):
        assert theirs(TEXTS[name])["input_ids"] == tiktoken.encode(TEXTS[name])


def test_a_run_too_long_for_tiktoken(tiktoken):
    # tiktoken itself panics here.
    ids = tiktoken.encode(" " * 1_050_000 + "x")
    assert tiktoken.decode(ids) == " " * 1_050_000 + "x"
    # The last blank goes with the letter.
    assert ids[-1] == tiktoken.encode(" x")[0]
