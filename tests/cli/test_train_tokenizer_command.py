"""steel train-tokenizer: a folder that loads, and is not replaced unasked."""

from __future__ import annotations

import argparse

import pytest

from helpers.corpus_files import write_json_lines
from helpers.sample_texts import TEXTS
from steel_megatron.cli.train_tokenizer_command import add_arguments, run
from steel_megatron.config import DataError
from steel_megatron.tokenizer import build_tokenizer


def test_a_tokenizer_is_made_once(tmp_path, capsys):
    path = write_json_lines(tmp_path / "a.jsonl", [{"text": text} for text in TEXTS.values()])
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["--input", str(path), "--output", str(tmp_path / "t"), "--vocab-size", "280"]
    args = parser.parse_args([*words, "--special-tokens", "<|endoftext|>"])
    assert run(args) == 0
    tokenizer = build_tokenizer(None, tmp_path / "t")
    assert (tokenizer.vocab_size, tokenizer.eod_id) == (280, 279)
    assert tokenizer.fingerprint in capsys.readouterr().out
    before = (tmp_path / "t" / "tokenizer.json").read_bytes()
    with pytest.raises(DataError, match="is there already") as caught:
        run(args)
    assert "--overwrite" in caught.value.fix
    assert (tmp_path / "t" / "tokenizer.json").read_bytes() == before
    args.overwrite = True
    assert run(args) == 0
