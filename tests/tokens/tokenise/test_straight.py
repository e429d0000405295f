"""Plain records go from bytes to ids in one step, and come out as they do record by record."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.hostile_texts import hostile_texts
from helpers.json_lines import LINES
from helpers.small_tokenizer import small_tokenizer
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokenizer.steel_encoder import SteelEncoder
from steel_megatron.tokens.tokenise import batch
from steel_megatron.tokens.tokenise.batch import EncodeJob, tokenize_batch
from steel_megatron.tokens.tokenise.lines import LineBatch

EOD = 599


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tokenizer and the encoder made of it."""
    folder = tmp_path_factory.mktemp("straight")
    tokenizer = build_tokenizer(None, small_tokenizer(folder / "t"))
    return tokenizer, SteelEncoder.of(tokenizer, Path(folder, "encoder.pickle"))


def job_of(encoder, tokenizer, keys=("text",), eod: int | None = EOD):
    return EncodeJob(encoder, pickle.dumps(tokenizer), keys, eod, "uint16", dict(tokenizer.special_tokens))


def check(made, data: bytes, keys=("text",), eod: int | None = EOD, straight: bool = True):
    """The batch equals that of the tokenizer itself; ``straight``: by the short way."""
    tokenizer, encoder = made
    expected = tokenize_batch(job_of(tokenizer, tokenizer, keys, eod), LineBatch(data))
    found = tokenize_batch(job_of(encoder, tokenizer, keys, eod), LineBatch(data))
    assert (found.lines, found.blank_lines, found.rejects) == (expected.lines, expected.blank_lines, expected.rejects)
    for one, other in zip(found.keys, expected.keys, strict=True):
        assert one.ids_T.dtype == other.ids_T.dtype == np.uint16
        assert one.ids_T.tolist() == other.ids_T.tolist()
        assert one.lengths_B.tolist() == other.lengths_B.tolist()
        assert one.text_bytes == other.text_bytes
    way = batch._straight(job_of(encoder, tokenizer, keys, eod), encoder, data)
    assert (way is not None) == straight


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("eod", [None, EOD])
def test_texts_of_every_kind(made, ascii_only, eod):
    texts = list(hostile_texts(400, 5))
    lines = [json.dumps({"id": i, "text": text}, ensure_ascii=ascii_only) for i, text in enumerate(texts)]
    check(made, "\n".join(lines).encode(), eod=eod)
    check(made, "\n \r\n".join(["", *lines, ""]).encode(), eod=eod)


def test_keys_are_documents_of_their_own(made):
    lines = [json.dumps({"b": f"b{i} 中文", "a": "a" * i}) for i in range(50)]
    check(made, "\n".join(lines).encode(), ("a", "b"))


@pytest.mark.parametrize("line", [line for line in LINES if len(line) < 1000], ids=lambda line: repr(line[:40]))
def test_one_line_that_is_not_plain_takes_the_long_way(made, line):
    data = b'{"text": "first"}\n' + line + b'\n{"text": "last"}\n'
    tokenizer, encoder = made
    plain = batch._straight(job_of(encoder, tokenizer), encoder, data) is not None
    check(made, data, straight=plain)
    assert LINES[line] is None or not plain


def test_control_marks_take_the_long_way(made):
    mark = "<|im_end|>"
    data = json.dumps({"text": f"you{mark}me", "control": [[3, 3 + len(mark)]]}).encode()
    check(made, data + b'\n{"text": "x"}', straight=False)


def test_what_the_encoder_fails_on_takes_the_long_way(made, monkeypatch):
    def fails(*arguments):
        raise RuntimeError("no")

    monkeypatch.setattr(SteelEncoder, "encode_lines", fails)
    check(made, b'{"text": "one"}\n', straight=False)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=12) | st.text(max_size=20).map(lambda text: json.dumps({"text": text}).encode())))
def test_any_bytes(made, lines):
    data = b"\n".join(lines)
    tokenizer, encoder = made
    check(made, data, straight=batch._straight(job_of(encoder, tokenizer), encoder, data) is not None)
