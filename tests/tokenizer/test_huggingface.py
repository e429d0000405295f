"""Hugging Face folders as they are found in the wild."""

from __future__ import annotations

import json
import shutil

import pytest
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from helpers.sample_texts import TEXTS
from helpers.small_tokenizer import small_tokenizer
from steel_megatron.config import DataError
from steel_megatron.tokenizer.huggingface import HuggingFaceTokenizer


@pytest.fixture
def folder(tmp_path):
    return small_tokenizer(tmp_path / "small")


def change(folder, file="tokenizer.json", **values):
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **values}))


def test_batches_equal_single_texts(folder):
    tokenizer = HuggingFaceTokenizer(folder)
    texts = list(TEXTS.values())
    batch = tokenizer.encode_batch(texts)
    assert (batch.ids_T.dtype, batch.lengths_B.dtype) == ("int32", "int64")
    assert batch.ids_T.tolist() == [id_ for text in texts for id_ in tokenizer.encode(text)]
    assert batch.lengths_B.tolist() == [len(tokenizer.encode(text)) for text in texts]
    assert len(tokenizer.encode_batch([]).ids_T) == 0


def test_special_tokens_in_text_are_characters(folder):
    tokenizer = HuggingFaceTokenizer(folder)
    special = set(tokenizer.special_tokens.values())
    assert special == {597, 598, 599}
    assert not special & set(tokenizer.encode(TEXTS["control marks"]))
    assert tokenizer.decode(tokenizer.encode(TEXTS["control marks"])) == TEXTS["control marks"]
    assert tokenizer.decode([597, *tokenizer.encode("你好"), 599]) == "<|endoftext|>你好<|im_end|>"


def test_chat_marks_are_special_whatever_the_file_says(folder):
    content = json.loads((folder / "tokenizer.json").read_bytes())
    change(folder, added_tokens=[{**token, "special": False} for token in content["added_tokens"]])
    tokenizer = HuggingFaceTokenizer(folder)
    assert set(tokenizer.special_tokens) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    assert 599 not in tokenizer.encode("<|im_end|>")


def test_other_added_tokens_are_vocabulary(folder):
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    backend.add_tokens([AddedToken("\t\t\t\t", normalized=False)])
    backend.save(str(folder / "tokenizer.json"))
    tokenizer = HuggingFaceTokenizer(folder)
    assert tokenizer.encode("\t\t\t\t") == [600]
    assert tokenizer.vocab_size == 601


def test_truncation_padding_and_dropout_in_the_file_are_off(folder):
    plain = HuggingFaceTokenizer(folder)
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    backend.enable_truncation(5)
    backend.enable_padding(length=50)
    backend.model.dropout = 0.9
    backend.save(str(folder / "tokenizer.json"))
    tokenizer = HuggingFaceTokenizer(folder)
    assert tokenizer.encode(TEXTS["english"]) == plain.encode(TEXTS["english"])
    assert tokenizer.encode_batch([TEXTS["english"], "a"]).lengths_B.tolist() == [
        len(plain.encode(TEXTS["english"])),
        1,
    ]
    assert tokenizer.fingerprint == plain.fingerprint


def test_the_end_of_a_document(folder):
    change(folder, "tokenizer_config.json", eos_token="<|im_end|>")
    assert HuggingFaceTokenizer(folder).eod_id == 597  # a chat model's eos ends a turn

    backend = Backend(models.WordLevel({"[UNK]": 0, "</s>": 1, "a": 2}, unk_token="[UNK]"))
    backend.add_special_tokens(["</s>"])
    other = folder.parent / "other"
    other.mkdir()
    backend.save(str(other / "tokenizer.json"))
    assert HuggingFaceTokenizer(other).eod_id is None
    (other / "special_tokens_map.json").write_text('{"eos_token": {"content": "</s>"}}')
    assert HuggingFaceTokenizer(other).eod_id == 1
    (other / "tokenizer_config.json").write_text('{"eos_token": "a"}')
    assert HuggingFaceTokenizer(other).eod_id == 2


def test_a_unigram_model_finds_no_control_token_in_text(tmp_path):
    backend = Backend(models.Unigram())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator([TEXTS["english"], "a </s> / < s >"] * 5, trainer)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = HuggingFaceTokenizer(tmp_path)
    assert tokenizer.special_tokens["</s>"] == 1
    assert 1 not in tokenizer.encode("a</s>b")


def test_a_path_of_tokenizer_json_stands_for_its_folder(folder):
    assert HuggingFaceTokenizer(folder / "tokenizer.json").fingerprint == HuggingFaceTokenizer(folder).fingerprint


def test_saving_copies_what_is_there(folder, tmp_path):
    from transformers import AutoTokenizer

    (folder / "chat_template.jinja").write_text("{{ messages }}")
    tokenizer = HuggingFaceTokenizer(folder)
    tokenizer.save_pretrained(tmp_path / "copy")
    names = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert {path.name for path in (tmp_path / "copy").iterdir()} == names
    for name in names:
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()
    theirs = AutoTokenizer.from_pretrained(tmp_path / "copy")
    assert theirs(TEXTS["chinese"])["input_ids"] == tokenizer.encode(TEXTS["chinese"])
    assert theirs.eos_token_id == tokenizer.eod_id
    tokenizer.save_pretrained(folder)  # onto itself
    assert HuggingFaceTokenizer(folder).fingerprint == tokenizer.fingerprint


def test_a_bare_tokenizer_json_is_saved_with_settings(folder, tmp_path):
    from transformers import AutoTokenizer

    (tmp_path / "bare").mkdir()
    shutil.copy(folder / "tokenizer.json", tmp_path / "bare" / "tokenizer.json")
    tokenizer = HuggingFaceTokenizer(tmp_path / "bare")
    tokenizer.save_pretrained(tmp_path / "copy")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "copy")
    assert theirs.eos_token_id == 597
    assert theirs(TEXTS["code"])["input_ids"] == tokenizer.encode(TEXTS["code"])


def test_a_folder_of_vocabulary_and_merges_goes_through_transformers(folder, tmp_path):
    from transformers import AutoTokenizer, GPT2TokenizerFast

    old = tmp_path / "gpt2"
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    old.mkdir()
    backend.model.save(str(old))
    (old / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"}')
    assert not (old / "tokenizer.json").exists()
    tokenizer = HuggingFaceTokenizer(old)
    reference = GPT2TokenizerFast.from_pretrained(old)
    assert tokenizer.encode(TEXTS["english"]) == reference(TEXTS["english"])["input_ids"]
    assert tokenizer.decode([tokenizer.eod_id]) == "<|endoftext|>"
    tokenizer.save_pretrained(tmp_path / "copy")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "copy")
    assert theirs(TEXTS["english"])["input_ids"] == tokenizer.encode(TEXTS["english"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[]", "holds a list"),
        ("{}", "no usable entry 'added_tokens'"),
        ('{"added_tokens": [], "model": {}}', "that the installed tokenizers library reads"),
    ],
)
def test_a_damaged_file_is_named(folder, content, message):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        HuggingFaceTokenizer(folder)
    assert str(folder) in str(caught.value)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="no tokenizer at"):
        HuggingFaceTokenizer(tmp_path / "nothing")
    with pytest.raises(DataError, match="the hub gives no such tokenizer"):
        HuggingFaceTokenizer("some-owner/some-model-that-is-not-cached")
    with pytest.raises(DataError, match="makes no fast tokenizer"):
        HuggingFaceTokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_text("a")
    with pytest.raises(DataError, match="is called tokenizer"):
        HuggingFaceTokenizer(tmp_path / "vocab.txt")
