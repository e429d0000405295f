"""Folders of tokenizers: what is written loads again with the same ids."""

from __future__ import annotations

import json

from tokenizers import Tokenizer as Backend
from tokenizers import models

from steel_megatron.tokenizer.base import END_OF_TEXT
from steel_megatron.tokenizer.byte_bpe import byte_letters
from steel_megatron.tokenizer.hf_folder import byte_level_bpe, write_folder

LETTERS = {letter: number for number, letter in enumerate(sorted(byte_letters().values()))}


def bytes_only(normalization: str | None = None, special: tuple[str, ...] = ()) -> Backend:
    """A tokenizer without merges: an id per byte."""
    return byte_level_bpe(models.BPE(LETTERS, []), r"\w+|\W+", normalization, special)


def test_every_text_is_spelt_in_bytes_and_comes_back():
    backend = bytes_only()
    text = " 你 e\u0301\n😀"
    ids = backend.encode(text).ids
    assert len(ids) == len(text.encode())
    assert backend.decode(ids) == text


def test_nfc_is_applied_only_where_it_is_asked_for():
    assert len(bytes_only("NFC").encode("e\u0301").ids) == len("é".encode())
    assert len(bytes_only(None).encode("e\u0301").ids) == len("e\u0301".encode())


def test_special_tokens_get_the_next_ids_in_order_and_stand_alone():
    backend = bytes_only(special=("<b>", "<a>"))
    assert backend.encode("x<b><a>").ids == [LETTERS["x"], 256, 257]


def test_a_written_folder_gives_the_same_ids_and_names_its_end(tmp_path):
    names = (END_OF_TEXT, "<user>")
    backend = bytes_only("NFC", names)
    write_folder(backend, names, tmp_path / "new" / "folder")
    again = Backend.from_file(str(tmp_path / "new" / "folder" / "tokenizer.json"))
    assert again.encode("é <user>").ids == backend.encode("é <user>").ids
    config = json.loads((tmp_path / "new" / "folder" / "tokenizer_config.json").read_text())
    assert (config["eos_token"], config["additional_special_tokens"]) == (END_OF_TEXT, ["<user>"])
    assert "token_type_ids" not in config["model_input_names"]


def test_without_an_end_token_none_is_claimed(tmp_path):
    write_folder(bytes_only(special=("<user>",)), ("<user>",), tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert (config["eos_token"], config["pad_token"]) == (None, None)
