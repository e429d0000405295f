"""Texts from the beginnings of a run's inputs."""

from __future__ import annotations

import json

from helpers.json_lines import LINES, write_lines
from steel_megatron.tokens.tokenise.sample_texts import SAMPLE_BYTES, SAMPLE_FILES, SAMPLE_TEXT, sample_of


def test_lines_that_are_no_record_are_passed_over(tmp_path):
    paths = [str(write_lines(tmp_path / "a.jsonl", [*LINES, b""])), str(write_lines(tmp_path / "b.jsonl.zst", ["字"]))]
    sample = sample_of(paths, ["text"])
    assert len(sample.texts) == sum(reason is None for reason in LINES.values()) + 1
    assert sample.texts[-1] == "字"


def test_every_chosen_file_gives_its_share(tmp_path):
    names = [tmp_path / f"{number:02d}.jsonl" for number in range(3 * SAMPLE_FILES)]
    paths = [str(write_lines(path, [path.name[0] * (2 * SAMPLE_TEXT)] * 20)) for path in names]
    sample = sample_of(paths, ["text"])
    assert max(map(len, sample.texts)) == SAMPLE_TEXT
    assert SAMPLE_BYTES - SAMPLE_FILES <= sum(map(len, sample.texts)) <= SAMPLE_BYTES
    assert {text[0] for text in sample.texts} == {"0", "1", "2"}


def test_marked_control_tokens_are_told(tmp_path):
    line = json.dumps({"text": "a<|x|>b", "control": [[1, 6]]}).encode()
    assert sample_of([str(write_lines(tmp_path / "a.jsonl", [line]))], ["text"]).control == {"<|x|>"}
