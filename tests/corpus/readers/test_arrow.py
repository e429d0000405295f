"""Tables that Hugging Face's datasets saved, and folders of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pytest

from helpers.corpus_files import pieces, read_json_lines
from steel_megatron.config import DataError
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.readers.arrow import read_arrow
from steel_megatron.jobs.inputs import find_inputs
from steel_megatron.jobs.never_data import DATASETS

ROWS = [{"text": f"第{i}篇。", "n": i, "at": {"url": f"u{i}"}} for i in range(300)]


def saved(rows: list[dict[str, object]], file: bool = False, batch: int = 100) -> bytes:
    table = pa.Table.from_pylist(rows)
    sink = io.BytesIO()
    open_writer = pa.ipc.new_file if file else pa.ipc.new_stream
    with open_writer(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)
    return sink.getvalue()


@pytest.mark.parametrize("file", [False, True])
def test_rows_come_in_order(file: bool) -> None:
    rows = list(read_arrow(pieces(saved(ROWS, file), 1000), "a.arrow"))
    assert [row.value for row in rows] == ROWS
    assert [row.number for row in rows] == list(range(1, 301))


@pytest.mark.parametrize("file", [False, True])
def test_a_table_that_is_cut_is_damaged(file: bool) -> None:
    data = saved(ROWS, file)
    with pytest.raises(DataError, match=r"cannot read a\.arrow behind row"):
        list(read_arrow(pieces(data[: len(data) // 2], 1000), "a.arrow"))


def test_bytes_that_are_no_utf8_cost_their_row() -> None:
    column = pa.array([b"\xe7\x94\xb2", b"\xff", b"x"], pa.binary()).cast(pa.string(), safe=False)
    sink = io.BytesIO()
    table = pa.table({"text": column})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    rows = list(read_arrow(iter([sink.getvalue()]), "a.arrow"))
    assert [row.error.reason if row.error else row.value["text"] for row in rows] == ["甲", "bad_utf8", "x"]


def folder_of(path: Path, names: tuple[str, ...] = ("data-00000-of-00002.arrow", "data-00001-of-00002.arrow")) -> Path:
    """A data set as save_to_disk leaves it, and what map left beside it."""
    path.mkdir(parents=True)
    for number, name in enumerate(names):
        (path / name).write_bytes(saved(ROWS[number * 150 : number * 150 + 150]))
    (path / "cache-0123456789abcdef.arrow").write_bytes(saved([{"text": "done before"}]))
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0123", "_split": "train"}
    (path / "state.json").write_text(json.dumps(state, indent=2))
    (path / "dataset_info.json").write_text(json.dumps({"citation": "", "description": "", "features": {}}, indent=2))
    return path


def test_a_saved_folder_gives_its_tables_and_nothing_else(tmp_path: Path) -> None:
    folder_of(tmp_path / "set" / "train")
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    done = convert_corpus("jsonl", [tmp_path / "set"], tmp_path / "out.jsonl")
    assert (done.manifest.documents, done.rejected) == (300, 0)
    documents = read_json_lines(tmp_path / "out.jsonl")
    assert [document["text"] for document in documents] == [row["text"] for row in ROWS]
    assert documents[150]["id"] == "train/data-00001-of-00002.arrow:1"
    assert len(find_inputs([tmp_path / "set"]).left[DATASETS]) == 4


def test_files_of_these_names_are_data_where_no_data_set_is(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"text": "甲"}\n')
    (tmp_path / "dataset_info.json").write_text('{"text": "乙"}\n')
    assert len(find_inputs([tmp_path]).files) == 2


def test_what_datasets_itself_saves_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list(ROWS)
    picked = datasets.DatasetDict({"train": rows.filter(lambda row: row["n"] % 2 == 0).shuffle(seed=1)})
    picked.save_to_disk(tmp_path / "set")
    datasets.load_from_disk(tmp_path / "set")["train"].map(lambda row: {"text": "mapped"})  # leaves a cache file
    assert list((tmp_path / "set").rglob("cache-*.arrow"))
    convert_corpus("jsonl", [tmp_path / "set"], tmp_path / "out.jsonl")
    texts = [document["text"] for document in read_json_lines(tmp_path / "out.jsonl")]
    assert texts == picked["train"]["text"]
    assert len(texts) == 150
