"""Files become parts by what they hold; the records of the parts are those of the files, with their numbers."""

from __future__ import annotations

import json
import zipfile

import pytest

from helpers.corpus_files import write_json_lines, write_parquet
from steel_megatron.config import DataError
from steel_megatron.corpus.convert.plan import plan_parts, rows_of
from steel_megatron.corpus.corpus import Corpus, Kind, text_field
from steel_megatron.jobs.inputs import Input
from steel_megatron.jobs.parts import InputFile

CORPUS = Corpus("test", "a test", {"text": "words"}, text_field("text"))


def planned(path, part_bytes: int = 1 << 20, searched: bool = False):
    given = Input(str(path), path.name, searched)
    return plan_parts([given], [InputFile.of(given)], CORPUS, 1, part_bytes)


def rows(parts) -> list[tuple[int, str]]:
    found = [row for part in parts for row in rows_of(part, CORPUS, lambda count: None, lambda name: None)]
    return [(row.number, row.value["text"]) for row in found]


@pytest.mark.parametrize("part_bytes", [50, 200, 1 << 20])
def test_lines_keep_their_numbers_wherever_the_file_is_cut(tmp_path, part_bytes):
    path = write_json_lines(tmp_path / "a.jsonl", [{"text": f"text {i}"} for i in range(30)])
    parts, passed_over = planned(path, part_bytes)
    assert rows(parts) == [(i + 1, f"text {i}") for i in range(30)]
    assert [part.number for part in parts] == list(range(len(parts)))
    assert (len(parts) > 1) is (part_bytes < 1000)
    assert passed_over == []


@pytest.mark.parametrize("part_bytes", [1, 1 << 20])
def test_row_groups_of_parquet_are_shared_out(tmp_path, part_bytes):
    texts = [f"text {i}" for i in range(10)]
    parts, _ = planned(write_parquet(tmp_path / "a.parquet", {"text": ("string", texts)}, 4), part_bytes)
    assert len(parts) == (3 if part_bytes == 1 else 1)
    assert rows(parts) == [(i + 1, text) for i, text in enumerate(texts)]


def test_members_of_a_zip_archive_are_shared_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for number in range(3):
            file.writestr(f"{number}.jsonl", json.dumps({"text": f"of {number}"}) + "\n")
    parts, _ = planned(tmp_path / "a.zip", 1)
    assert [(part.kind, part.start, part.stop) for part in parts] == [(Kind.ZIP, i, i + 1) for i in range(3)]
    assert [text for _, text in rows(parts)] == ["of 0", "of 1", "of 2"]


def test_a_file_of_another_kind_is_passed_over_or_refused_if_it_was_named(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF-1.4\n" + b"\x00\x01" * 50)
    assert planned(path, searched=True) == ([], ["a.pdf"])
    with pytest.raises(DataError, match="looks like pdf") as caught:
        planned(path)
    assert caught.value.rule.startswith("corpus test is read from json lines")


def test_an_empty_file_has_no_records(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"")
    assert rows(planned(tmp_path / "a.jsonl")[0]) == []
