"""Which texts are read, which are held out, and what is left out and counted."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from helpers.classified_texts import write_records
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.classify import texts as module
from steel_megatron.corpus.classify.texts import labelled_inputs, line_blocks, read_texts
from steel_megatron.corpus.readers import row


def test_every_text_is_trained_on_or_held_out_once(tmp_path: Path) -> None:
    write_records(tmp_path / "a.jsonl", [f"text {i % 300}" for i in range(400)])
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "text 7"}\n{"text": "other"}\n{bad\n{"text": 3}\n'))
    labelled = labelled_inputs({"a": [str(tmp_path / "a.jsonl")], "b": [str(tmp_path / "b.jsonl.gz")]})
    texts = read_texts(labelled, "text", 0.2, 10**9, seed=1)
    assert sorted(texts.train[0] + texts.held_out[0]) == sorted({f"text {i}" for i in range(300)})
    assert 30 < len(texts.held_out[0]) < 90
    assert texts.train[1] + texts.held_out[1] == ["other"]
    assert texts.left == {"there already": 100, "under another label already": 1, "bad_json": 1, "not_a_string": 1}
    again = read_texts(labelled, "text", 0.2, 10**9, seed=1)
    other = read_texts(labelled, "text", 0.2, 10**9, seed=5)
    assert again.held_out == texts.held_out
    assert other.held_out != texts.held_out


def test_of_many_bytes_each_file_gives_its_share_from_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 1000)
    for name, count in (("large", 30_000), ("small", 10_000)):
        write_records(tmp_path / f"{name}.jsonl", [f"{name} {i:05d} " + "x" * 40 for i in range(count)])
    write_records(tmp_path / "other.jsonl", ["one", "two"])
    given = {"a": [str(tmp_path / "large.jsonl"), str(tmp_path / "small.jsonl")], "b": [str(tmp_path / "other.jsonl")]}
    most = 1_000_000
    (own, others) = read_texts(labelled_inputs(given), "text", 0.0, most, seed=1).train
    taken = {name: sum(text.startswith(name) for text in own) for name in ("large", "small")}
    size = sum(path.stat().st_size for path in tmp_path.glob("[ls]*.jsonl"))
    for name, count in (("large", 30_000), ("small", 10_000)):
        assert taken[name] == pytest.approx(count * most / size, rel=0.3)
    assert own[0].startswith("large 00000")
    assert len(others) == 2


def test_a_label_without_texts_is_an_error(tmp_path: Path) -> None:
    paths = [str(write_records(tmp_path / f"{name}.jsonl", ["some text"])) for name in "ab"]
    with pytest.raises(ConfigError, match="1 label"):
        labelled_inputs({"a": paths[:1]})
    labelled = labelled_inputs({"a": paths[:1], "b": paths[1:]})
    with pytest.raises(DataError, match="b: no text to train on") as caught:  # the same text under the other label
        read_texts(labelled, "text", 0.0, 10**9, 1)
    assert "--json-key" in caught.value.fix


def test_lines_come_in_blocks_and_long_ones_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 20)
    monkeypatch.setattr(module, "MAX_RECORD_BYTES", 30)
    lines = [json.dumps(i).encode() * 4 for i in range(10, 20)]
    content = b"\n".join([*lines[:6], b"x" * 50, *lines[6:]])
    blocks = list(line_blocks(content[at : at + 7] for at in range(0, len(content), 7)))
    assert [block for block, whole in blocks if not whole] == [b"x" * 50]
    assert b"\n".join(block for block, whole in blocks if whole) == b"\n".join(lines)
    assert max(len(block) for block, whole in blocks if whole) <= 30
    assert row.HEAD_BYTES > 50
