"""SentencePiece models, trained here on a few lines."""

from __future__ import annotations

import pytest

from helpers.sample_texts import TEXTS
from helpers.small_sentencepiece import LIKE_LLAMA, small_sentencepiece
from steel_megatron.config import DataError
from steel_megatron.tokenizer.sentencepiece import SentencePieceTokenizer


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sentencepiece")
    marks = ["<|im_start|>", "<|im_end|>", "\t"]
    return small_sentencepiece(folder / "tokenizer.model", user_defined_symbols=marks, **LIKE_LLAMA)


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
    assert SentencePieceTokenizer(small_sentencepiece(tmp_path / "x.model", eos_id=-1)).eod_id is None


def test_what_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(DataError, match="no tokenizer file"):
        SentencePieceTokenizer(tmp_path / "none.model")
    (tmp_path / "bad.model").write_bytes(b"not a model")
    with pytest.raises(DataError, match=r"bad\.model"):
        SentencePieceTokenizer(tmp_path / "bad.model")
