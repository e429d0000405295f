"""SentencePiece models, trained here on a few lines."""

from __future__ import annotations

import io

import pytest
from sentencepiece import SentencePieceTrainer

from helpers.sample_texts import TEXTS
from steel_megatron.config import ConfigError, DataError
from steel_megatron.tokenizer.huggingface import HuggingFaceTokenizer
from steel_megatron.tokenizer.sentencepiece import SentencePieceTokenizer


def train(path, **options):
    model = io.BytesIO()
    lines = [line for text in TEXTS.values() for line in text.replace("\0", "").splitlines()] * 5
    defaults = {"vocab_size": 700, "byte_fallback": True, "hard_vocab_limit": False, "minloglevel": 2, "num_threads": 1}
    SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, **{**defaults, **options})
    path.write_bytes(model.getvalue())
    return path


LIKE_LLAMA = {"model_type": "bpe", "normalization_rule_name": "identity", "remove_extra_whitespaces": False}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sentencepiece")
    return train(folder / "tokenizer.model", user_defined_symbols=["<|im_start|>", "<|im_end|>", "\t"], **LIKE_LLAMA)


def test_chat_marks_in_text_are_characters(path):
    tokenizer = SentencePieceTokenizer(path)
    assert set(tokenizer.special_tokens) == {"<s>", "</s>", "<|im_start|>", "<|im_end|>"}
    special = set(tokenizer.special_tokens.values())
    ids = tokenizer.encode(TEXTS["control marks"])
    assert not special & set(ids)
    assert tokenizer.decode(ids) == TEXTS["control marks"]
    # Other user-defined pieces stay what they are.
    assert tokenizer._processor.piece_to_id("\t") in tokenizer.encode("a\tb")


def test_batches_equal_single_texts(path):
    tokenizer = SentencePieceTokenizer(path)
    texts = list(TEXTS.values())
    batch = tokenizer.encode_batch(texts)
    assert batch.ids_T.tolist() == [id_ for text in texts for id_ in tokenizer.encode(text)]
    assert batch.lengths_B.tolist() == [len(tokenizer.encode(text)) for text in texts]


def test_ids_are_sentencepieces(path):
    from sentencepiece import SentencePieceProcessor

    tokenizer, plain = SentencePieceTokenizer(path), SentencePieceProcessor(model_file=str(path))
    assert tokenizer.encode(TEXTS["chinese"]) == plain.encode(TEXTS["chinese"])
    assert tokenizer.vocab_size == plain.vocab_size()
    assert tokenizer.eod_id == plain.eos_id() == 2


def test_without_an_end_piece_there_is_no_eod(tmp_path):
    assert SentencePieceTokenizer(train(tmp_path / "x.model", eos_id=-1)).eod_id is None


@pytest.mark.parametrize(
    "options",
    [{}, {"add_dummy_prefix": False}, {"byte_fallback": False}, {"user_defined_symbols": ["<|im_end|>", "\t"]}],
    ids=["like llama", "no dummy prefix", "no bytes", "chat marks"],
)
def test_it_is_saved_for_transformers(tmp_path, options):
    from transformers import AutoTokenizer

    tokenizer = SentencePieceTokenizer(train(tmp_path / "x.model", **LIKE_LLAMA, **options))
    tokenizer.save_pretrained(tmp_path / "saved")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "saved")
    saved = HuggingFaceTokenizer(tmp_path / "saved")
    assert saved.eod_id == theirs.eos_token_id == tokenizer.eod_id
    for name, text in TEXTS.items():
        ids = tokenizer.encode(text)
        assert saved.encode(text) == ids, name
        if options.get("byte_fallback", True):  # the two write an unknown piece in other ways
            assert saved.decode(ids) == tokenizer.decode(ids), name
        if name != "control marks":
            assert theirs(text, add_special_tokens=False)["input_ids"] == ids, name


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"model_type": "unigram"}, "no BPE model"),
        ({"normalization_rule_name": "nmt_nfkc"}, "normalises by nmt_nfkc"),
        ({"remove_extra_whitespaces": True}, "removes extra blanks"),
        ({"user_defined_symbols": ["人工"]}, "user-defined words"),
    ],
)
def test_a_model_without_an_equal_form_is_not_saved(tmp_path, options, reason):
    tokenizer = SentencePieceTokenizer(train(tmp_path / "x.model", **{**LIKE_LLAMA, **options}))
    with pytest.raises(ConfigError, match=reason):
        tokenizer.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_what_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(DataError, match="no tokenizer file"):
        SentencePieceTokenizer(tmp_path / "none.model")
    (tmp_path / "bad.model").write_bytes(b"not a model")
    with pytest.raises(DataError, match=r"bad\.model"):
        SentencePieceTokenizer(tmp_path / "bad.model")
