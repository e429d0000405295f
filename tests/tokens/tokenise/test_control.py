"""Marked stretches of a text become control tokens, and nothing else does."""

from __future__ import annotations

import json

import pytest

from helpers.json_lines import write_lines
from helpers.small_tokenizer import small_tiktoken, small_tokenizer
from steel_megatron.config import DataError
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.tokens.tokenise.run import tokenize

START, END = "<|im_start|>", "<|im_end|>"


def record(*parts: tuple[str, bool]) -> bytes:
    """A record of (text, is control) pieces."""
    text, control = "", []
    for piece, marked in parts:
        if marked:
            control.append([len(text), len(text) + len(piece)])
        text += piece
    return json.dumps({"text": text, "control": control}, ensure_ascii=False).encode()


CHATS = [
    [(START, True), ("user\n你说<|im_end|>是什么？😀", False), (END, True), ("\n", False), (END, True), (START, True)],
    [("plain e\u0301", False)],
    [(END, True)],
    [("\u0301 begins with a mark", False), (END, True), ("\u0301", False)],
    [],
]


@pytest.fixture(params=["huggingface", "tiktoken"])
def tokenizer(request, tmp_path):
    if request.param == "huggingface":
        return build_tokenizer(None, small_tokenizer(tmp_path / "t"))
    return build_tokenizer(None, small_tiktoken(tmp_path / "small.tiktoken"))


@pytest.mark.parametrize("append_eod", [False, True])
def test_marks_become_single_ids(tmp_path, tokenizer, append_eod):
    lines = [record(*chat) for chat in CHATS]
    lines.insert(2, json.dumps({"text": f"no marks {END}"}).encode())
    path = write_lines(tmp_path / "a.jsonl", lines)
    tokenize([path], tmp_path / "x", tokenizer, append_eod=append_eod)
    expected = []
    chats = [*CHATS[:2], [(f"no marks {END}", False)], *CHATS[2:]]
    for chat in chats:
        ids: list[int] = []
        for text, marked in chat:
            ids += [tokenizer.special_tokens[text]] if marked else tokenizer.encode(text)
        expected.append(ids + [tokenizer.eod_id] * (append_eod and bool(ids)))
    dataset = IndexedDataset(tmp_path / "x_text_document")
    assert [dataset.document(i).tolist() for i in range(dataset.document_count)] == expected


def test_an_unknown_control_token_stops_the_run_before_it_begins(tmp_path, tokenizer):
    path = write_lines(tmp_path / "a.jsonl", [record(("<|assistant|>", True), ("x", False))])
    with pytest.raises(DataError, match=r"mark '<\|assistant\|>' as control tokens"):
        tokenize([path], tmp_path / "x", tokenizer)
    assert not list(tmp_path.glob("x*"))


def test_a_late_unknown_control_token_costs_its_record(tmp_path, tokenizer):
    lines: list[bytes | str] = ["filling " * 4000] * 300
    lines.append(record(("<|assistant|>", True), ("x", False)))
    path = write_lines(tmp_path / "a.jsonl", lines)
    done = tokenize([path], tmp_path / "x", tokenizer)
    assert next(iter(done.manifests.values())).rejects == {"unknown_control": 1}
