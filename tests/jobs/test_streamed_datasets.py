"""A data set by its name: its shards are files, read in parts, with what a run needs to go on."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.corpus_files import read_json_lines
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus import convert_corpus
from steel_megatron.jobs import streamed_datasets
from steel_megatron.jobs.files import filesystem, open_file, state_of
from steel_megatron.jobs.inputs import find_inputs

pytest.importorskip("datasets")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three shards of train, one of test, as a hub has them."""
    place = tmp_path / "set" / "data"
    place.mkdir(parents=True)
    for split, shards in (("train", 3), ("test", 1)):
        for shard in range(shards):
            rows = {
                "text": [f"{split} {shard} {row}，绿茶用八十度的水。" for row in range(50)],
                "day": [datetime.date(2024, 2, 20)] * 50,
                "raw": [b"\xe8\x8c\xb6"] * 50,
                "score": [float("nan")] * 50,
            }
            pq.write_table(pa.table(rows), place / f"{split}-{shard:05}-of-{shards:05}.parquet")
    return tmp_path / "set"


def test_shards_are_files(folder: Path) -> None:
    found = find_inputs([f"datasets://{folder}"])
    assert [file.name for file in found.files] == [f"shard-{i:05}-of-00003.jsonl" for i in range(3)]
    assert len(find_inputs([f"datasets://{folder}:default@test"]).files) == 1
    (first, *_) = found.files
    assert find_inputs([first.location]).files[0].location == first.location
    assert state_of(first.location) == state_of(first.location)
    assert state_of(first.location)[1]
    with open_file(first.location) as file:
        line = file.readline()
        assert not file.seekable()
    assert line.decode().startswith(
        '{"text":"train 0 0，绿茶用八十度的水。","day":"2024-02-20","raw":"茶","score":null}'
    )


def test_documents_are_those_of_the_files_themselves(folder: Path, tmp_path: Path) -> None:
    convert_corpus("jsonl", [folder / "data"], tmp_path / "files.jsonl")
    convert_corpus("jsonl", [f"datasets://{folder}@train"], tmp_path / "streamed.jsonl", workers=2)
    streamed = read_json_lines(tmp_path / "streamed.jsonl")
    expected = [row["text"] for row in read_json_lines(tmp_path / "files.jsonl") if row["text"].startswith("train")]
    assert [row["text"] for row in streamed] == expected
    assert streamed[50]["id"] == "shard-00001-of-00003.jsonl:1"
    again = convert_corpus("jsonl", [f"datasets://{folder}@train"], tmp_path / "streamed.jsonl")
    assert again.done_before


def test_the_head_is_kept_and_the_rest_follows_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_datasets, "_BLOCK_BYTES", 200)
    location = f"datasets://{folder}@test/shard-00000-of-00001.jsonl"
    filesystem(location)[0]._first_blocks.clear()
    with open_file(location) as file:
        whole = file.read()
    with open_file(location) as file:
        assert file.read(10) == whole[:10]
    with open_file(location) as file:
        assert file.read() == whole
    assert whole.count(b"\n") == 50


@pytest.mark.parametrize(("name", "says"), [("{}@dev", "Bad split: dev"), ("{}:other", "'other' not found")])
def test_what_is_not_there_is_told(folder: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        find_inputs(["datasets://" + name.format(folder)])


def test_a_name_that_nobody_has(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read datasets://"):
        find_inputs([f"datasets://{tmp_path / 'nothing'}"])
    with pytest.raises(ConfigError, match="NAME:CONFIG@SPLIT"):
        find_inputs(["datasets://@train"])


def test_a_saved_set_is_a_folder(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list([{"text": "甲"}]).save_to_disk(tmp_path / "saved")
    with pytest.raises(ConfigError, match="give its folder to --input"):
        find_inputs([f"datasets://{tmp_path / 'saved'}"])


def test_without_the_package_its_command_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    streamed_datasets._loaded.cache_clear()
    with pytest.raises(ConfigError, match=r"steel-megatron\[datasets\]"):
        find_inputs([f"datasets://{folder}"])
