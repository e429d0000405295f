"""Kinds of foreign files of ids, their documents, and what is said of damaged ones."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steel_megatron.config import ConfigError, DataError
from steel_megatron.tokens.foreign.token_files import (
    LITPKDS,
    Splitter,
    find_token_files,
    kind_of,
    litpkds_ids,
    npy_array,
    npy_documents,
    parquet_documents,
)


def documents(*pieces):
    """Documents of several (flat ids, lengths)."""
    return [part.tolist() for ids, lengths in pieces for part in np.split(ids, np.cumsum(lengths)[:-1]) if len(lengths)]


def litpkds(path, ids, code=8, version=1):
    path.write_bytes(LITPKDS.pack(b"LITPKDS", version, code, len(ids)) + np.array(ids, "<u2").tobytes())
    return path


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_a_stream_is_cut_at_its_markers_wherever_it_is_read(at_once):
    stream = np.array([1, 2, 9, 9, 3, 9, 4, 5])
    for marker, expected in (("end_id", [[1, 2, 9], [3, 9], [4, 5]]), ("begin_id", [[1, 2], [9, 3], [9, 4, 5]])):
        splitter = Splitter(**{marker: 9})
        pieces = [splitter.feed(stream[at : at + at_once]) for at in range(0, len(stream), at_once)]
        assert documents(*pieces, splitter.finish()) == expected
        assert splitter.padding == 1


def test_kinds_are_told_by_content(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    assert kind_of(litpkds(tmp_path / "x.txt", [1])) == "litpkds"
    assert kind_of(tmp_path / "a.npy") == "npy"
    (tmp_path / "empty").write_bytes(b"")
    assert kind_of(tmp_path / "empty") is None


def test_files_are_of_one_kind(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    litpkds(tmp_path / "b.bin", [1])
    with pytest.raises(DataError, match="files of litpkds and npy"):
        find_token_files([tmp_path])
    assert find_token_files([tmp_path / "a.npy"]) == ("npy", [tmp_path / "a.npy"])
    (tmp_path / "c.bin").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="is no file of token ids"):
        find_token_files([tmp_path / "c.bin"])


def test_packed_files_are_checked_against_their_heads(tmp_path):
    path = litpkds(tmp_path / "a.bin", [5, 6, 7])
    assert litpkds_ids(path).tolist() == [5, 6, 7]
    assert litpkds_ids(litpkds(tmp_path / "empty.bin", [])).tolist() == []
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="its head tells of 3 ids of 2 bytes"):
        litpkds_ids(path)
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(DataError, match="has 10 bytes"):
        litpkds_ids(path)
    for wrong in ({"code": 6}, {"version": 2}):
        with pytest.raises(DataError, match="version 1 with integer types"):
            litpkds_ids(litpkds(path, [1], **wrong))


def test_rows_of_an_array_are_documents(tmp_path):
    np.save(tmp_path / "two.npy", np.array([[1, 2], [3, 4]]))
    np.save(tmp_path / "one.npy", np.array([1, 2, 3]))
    assert documents(*npy_documents(tmp_path / "two.npy")) == [[1, 2], [3, 4]]
    assert documents(*npy_documents(tmp_path / "one.npy")) == [[1, 2, 3]]


@pytest.mark.parametrize("array", [np.ones(3), np.ones((1, 1, 1), int), np.asfortranarray(np.ones((2, 3), int))])
def test_arrays_of_no_ids_are_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=f"holds {array.dtype} of {array.ndim} axes"):
        npy_array(tmp_path / "a.npy")


def test_rows_of_parquet_are_documents_or_rejects(tmp_path):
    path, rejects = tmp_path / "a.parquet", []
    pq.write_table(pa.table({"ids": [[1, 2], None, [], [3, None]], "more": [[1]] * 4, "text": ["x"] * 4}), path)
    found = parquet_documents(path, "ids", lambda reason, detail: rejects.append(reason))
    assert [(ids.tolist(), lengths.tolist()) for ids, lengths in found] == [([1, 2], [2]), ([], [0])]
    assert rejects == ["null", "null_id"]
    for column, said in ((None, "in ids, more"), ("text", "--column text")):
        with pytest.raises(ConfigError, match=said):
            next(parquet_documents(path, column, lambda reason, detail: None))
