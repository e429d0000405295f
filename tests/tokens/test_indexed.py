"""Indexed datasets, byte for byte as Megatron writes them, against an independent writer and reader in numpy."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.megatron_files import CODES, Documents, megatron_bytes, read_megatron, write_megatron
from steel_megatron.config import DataError
from steel_megatron.tokens.indexed import IndexedDataset, IndexedWriter
from steel_megatron.tokens.token_type import best_dtype

# Peak memory of a process in kilobytes; ru_maxrss would begin with that of the process which started it.
PEAK = "peak = lambda: int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells the memory of a process")

INTEGERS = [name for name in CODES if "int" in name]


def ids_of(dtype: str) -> st.SearchStrategy[Any]:
    if "float" in dtype:
        return st.floats(width=32 if dtype == "float32" else 64, allow_nan=False)
    info = np.iinfo(dtype)
    return st.integers(int(info.min), int(info.max))


@st.composite
def datasets(draw: st.DrawFn) -> tuple[str, Documents]:
    dtype = draw(st.sampled_from(list(CODES)))
    sequences = st.lists(ids_of(dtype), max_size=6)
    return dtype, draw(st.lists(st.lists(sequences, max_size=3), max_size=8))


def flatten(lists: list[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(lists))


def read_bytes(prefix: Path | str) -> tuple[bytes, bytes]:
    return Path(f"{prefix}.bin").read_bytes(), Path(f"{prefix}.idx").read_bytes()


def test_bytes_of_a_known_file(tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / "known", "uint16") as writer:
        writer.add_document([[1, 2, 3], [4]])
        writer.add_document([])
        writer.add_document([65535])
    tokens, index = read_bytes(tmp_path / "known")
    assert tokens.hex() == "0100020003000400ffff"
    assert index.hex() == (
        "4d4d49444944580000" "0100000000000000" "08" "0300000000000000" "0400000000000000"  # header
        "03000000" "01000000" "01000000"  # lengths
        "0000000000000000" "0600000000000000" "0800000000000000"  # pointers
        "0000000000000000" "0200000000000000" "0200000000000000" "0300000000000000"  # boundaries
    )  # fmt: skip
    assert sorted(os.listdir(tmp_path)) == ["known.bin", "known.idx"]


@given(datasets())
def test_writes_the_bytes_that_numpy_writes(dataset: tuple[str, Documents]) -> None:
    dtype, documents = dataset
    with TemporaryDirectory() as folder:
        with IndexedWriter(f"{folder}/ours", dtype) as writer:
            for document in documents:
                writer.add_document([np.array(sequence, dtype) for sequence in document])
        assert read_bytes(f"{folder}/ours") == megatron_bytes(documents, dtype)
        assert read_megatron(f"{folder}/ours") == (dtype, documents)


@given(datasets(), st.data())
def test_reads_what_numpy_wrote(dataset: tuple[str, Documents], data: st.DataObject) -> None:
    dtype, documents = dataset
    sequences = flatten(documents)
    flat = flatten(sequences)
    modes = data.draw(st.none() | st.lists(st.integers(0, 127), min_size=len(sequences), max_size=len(sequences)))
    with TemporaryDirectory() as folder:
        read = IndexedDataset(write_megatron(f"{folder}/theirs", documents, dtype, modes))
        read.validate()
        assert read.dtype == dtype
        assert read.tokens.tolist() == flat
        assert (read.document_count, read.sequence_count, read.token_count) == (
            len(documents),
            len(sequences),
            len(flat),
        )
        assert [read.sequence(i).tolist() for i in range(len(sequences))] == sequences
        assert [read.document(i).tolist() for i in range(len(documents))] == [
            flatten(document) for document in documents
        ]
        assert read.sequence_lengths.tolist() == [len(sequence) for sequence in sequences]
        assert (
            read.sequence_pointers.tolist()
            == (np.cumsum([0, *map(len, sequences)]) * read.dtype.itemsize).tolist()[:-1]
        )
        assert np.diff(read.document_indices).tolist() == [len(document) for document in documents]
        expected_modes = modes if sequences else None
        assert (None if read.sequence_modes is None else read.sequence_modes.tolist()) == expected_modes
        starts = np.cumsum([0, *(len(flatten(document)) for document in documents)])
        first = data.draw(st.integers(0, len(documents)))
        last = data.draw(st.integers(first, len(documents)))
        assert read.document_token_range(first, last) == (starts[first], starts[last])
        start = data.draw(st.integers(0, len(flat) + 1))
        stop = data.draw(st.integers(start, len(flat) + 2))
        expected = sorted({s for s in starts[:-1].tolist() if start <= s < stop and s < len(flat)})
        assert read.document_starts_between(start, stop).tolist() == expected


@given(st.sampled_from(INTEGERS), st.lists(st.lists(st.integers(0, 127), max_size=9), max_size=9), st.data())
def test_add_many_is_add_document_many_times(dtype: str, documents: list[list[int]], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(documents)), max_size=3)))
    source = data.draw(st.sampled_from(["uint8", ">i2", "<i4", "i8", "u4", "u8"]))
    with TemporaryDirectory() as folder:
        with IndexedWriter(f"{folder}/one", dtype) as writer:
            for document in documents:
                writer.add_document(document)
        with IndexedWriter(f"{folder}/many", dtype) as writer:
            for first, last in zip([0, *cuts], [*cuts, len(documents)], strict=True):
                part = documents[first:last]
                spread = np.repeat(np.array(flatten(part), source), 2)[::2]  # not contiguous
                writer.add_many(spread, [len(document) for document in part])
            assert writer.document_count == len(documents)
            assert writer.token_count == sum(map(len, documents))
            assert writer.sequence_count == sum(map(bool, documents))
        assert read_bytes(f"{folder}/one") == read_bytes(f"{folder}/many")


@given(st.sampled_from([*INTEGERS, "float32"]), st.sampled_from(["int64", "uint64", "int32", "int8"]), st.data())
def test_an_id_that_does_not_fit_is_named_and_nothing_is_written(target: str, source: str, data: st.DataObject) -> None:
    low, high = (-(2**24), 2**24) if target == "float32" else (np.iinfo(target).min, np.iinfo(target).max)
    limits = np.iinfo(source)
    ids = data.draw(st.lists(ids_of(source) | st.integers(max(low, limits.min), min(high, limits.max)), max_size=9))
    wrong = [(place, value) for place, value in enumerate(ids) if not low <= value <= high]
    with TemporaryDirectory() as folder, IndexedWriter(f"{folder}/data", target) as writer:
        if wrong:
            place, value = wrong[0]
            with pytest.raises(DataError, match=f"token id {value} at place {place} does not fit {target}"):
                writer.add_many(np.array(ids, source), [len(ids)])
            with pytest.raises(DataError, match="does not fit"):
                writer.add_document(np.array(ids, source))
        else:
            writer.add_document(np.array(ids, source))
        writer.add_document([1])
        writer.finish()
        assert IndexedDataset(f"{folder}/data").tokens.tolist() == [*([] if wrong else ids), 1]


@pytest.mark.parametrize("source", [*INTEGERS, "uint32", "uint64"])
@pytest.mark.parametrize("target", INTEGERS)
def test_the_ends_of_every_type_in_every_other(tmp_path: Path, source: str, target: str) -> None:
    ends = [limit for name in (source, target) for limit in (np.iinfo(name).min, np.iinfo(name).max)]
    written = []
    with IndexedWriter(tmp_path / "data", target) as writer:
        for value in sorted({int(end) + step for end in (*ends, 0) for step in (-1, 0, 1)}):
            if not np.iinfo(source).min <= value <= np.iinfo(source).max:
                continue
            if np.iinfo(target).min <= value <= np.iinfo(target).max:
                writer.add_many(np.array([value], source), [1])
                written.append(value)
            else:
                with pytest.raises(DataError, match=f"token id {value} at place 0 does not fit {target}"):
                    writer.add_many(np.array([value], source), [1])
    assert read_megatron(tmp_path / "data") == (target, [[[value]] for value in written])


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda writer: writer.add_many([1, 2], [1]), "lengths of 1 tokens with 2 ids"),
        (lambda writer: writer.add_many([1, 2], [3, -1]), "sequence 1 of -1 tokens"),
        (lambda writer: writer.add_many([1, 2], [2**40]), "sequence 0 of 1099511627776 tokens"),
        (lambda writer: writer.add_many([1, 2], [1.5, 0.5]), "lengths of type float64"),
        (lambda writer: writer.add_many([[1, 2]], [2]), "2 dimensions"),
        (lambda writer: writer.add_document([1.5]), "fractional values"),
        (lambda writer: writer.add_document(np.array(["a"])), "numpy type U4"),
    ],
)
def test_what_is_no_list_of_ids_is_refused(tmp_path: Path, call: Any, problem: str) -> None:
    with IndexedWriter(tmp_path / "data", "int32") as writer:
        with pytest.raises(DataError, match=problem):
            call(writer)
        writer.add_document([7])
    assert read_megatron(tmp_path / "data") == ("int32", [[[7]]])


def test_unknown_type_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="token type uint32"):
        IndexedWriter(tmp_path / "data", "uint32")
    with pytest.raises(DataError, match=r"cannot create .*nowhere/data\.bin\.partial"):
        IndexedWriter(tmp_path / "nowhere" / "data")
    with pytest.raises(DataError, match=r"no file .*data\.idx"):
        IndexedDataset(tmp_path / "data")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(2, "uint16"), (65499, "uint16"), (65500, "int32"), (152064, "int32")]
)
def test_type_by_vocabulary(vocab_size: int, dtype: str) -> None:
    assert best_dtype(vocab_size) == dtype


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    dataset = IndexedDataset(write_megatron(tmp_path / "data", [[[1]], [[2], [3]]], "int32"))
    for call in (
        lambda: dataset.document(2),
        lambda: dataset.document(-1),
        lambda: dataset.sequence(3),
        lambda: dataset.document_token_range(0, 3),
        lambda: dataset.document_token_range(2, 1),
        lambda: dataset.document_token_range(-1, 1),
    ):
        with pytest.raises(IndexError):
            call()


def test_reading_copies_nothing_and_writes_nothing(tmp_path: Path) -> None:
    dataset = IndexedDataset(write_megatron(tmp_path / "data", [[[1, 2]], [[3], [4]]], "int32"))
    tokens, second = dataset.tokens, dataset.document(1)
    assert np.shares_memory(tokens, second)
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 9
    with open(tmp_path / "data.bin", "r+b") as file:
        file.write(np.array([8], np.int32).tobytes())
    assert tokens[0] == 8  # the mapped file itself, not a copy of it
    del dataset
    assert second.tolist() == [3, 4]  # an array keeps its mapping


def test_more_than_two_to_the_31_tokens(tmp_path: Path) -> None:
    length = 2**30
    prefix = tmp_path / "sparse"
    with open(f"{prefix}.bin", "wb") as file:
        file.truncate(2 * 3 * length)
        file.seek(-2, os.SEEK_END)
        file.write(b"\x07\x00")
    pointers = [2 * length * i for i in range(3)]
    header = megatron_bytes([[[]], [[]], [[]]], "uint16")[1][:34]
    lengths = np.full(3, length, "<i4").tobytes()
    Path(f"{prefix}.idx").write_bytes(header + lengths + np.array([*pointers, 0, 1, 2, 3], "<i8").tobytes())

    with IndexedWriter(tmp_path / "twice", "uint16") as writer:
        writer.append_dataset(prefix)
        writer.add_document([5])
        writer.append_dataset(prefix)
    dataset = IndexedDataset(tmp_path / "twice")
    dataset.validate()
    assert dataset.token_count == 6 * length + 1 > 2**32
    assert dataset.sequence_pointers.tolist() == [*pointers, 6 * length, *(6 * length + 2 + p for p in pointers)]
    assert dataset.document_token_range(6, 7) == (5 * length + 1, 6 * length + 1)
    assert dataset.document(3).tolist() == [5]
    assert dataset.document(6)[-1] == dataset.tokens[3 * length - 1] == dataset.tokens[-1] == 7
    assert dataset.tokens[3 * length - 2] == dataset.tokens[-2] == 0
    assert dataset.document_starts_between(3 * length, 4 * length + 2).tolist() == [
        3 * length,
        3 * length + 1,
        4 * length + 1,
    ]
    on_disk = sum(512 * os.stat(tmp_path / name).st_blocks for name in os.listdir(tmp_path))
    assert on_disk < 1 << 20, "holes stay holes"


@needs_proc
def test_opening_does_not_read_the_index(tmp_path: Path) -> None:
    count = 10**9
    prefix = tmp_path / "sparse"
    header = megatron_bytes([], "uint8")[1][:18] + np.array([count, count + 1], "<u8").tobytes()
    with open(f"{prefix}.idx", "wb") as file:
        file.write(header)
        file.truncate(34 + 20 * count + 8)
        file.seek(34 + 4 * (count - 1))
        file.write(np.int32(5).tobytes())  # the last sequence holds the only tokens
        file.seek(-8, os.SEEK_END)
        file.write(np.int64(count).tobytes())
    Path(f"{prefix}.bin").write_bytes(bytes(5))
    code = (
        "import sys; from steel_megatron.tokens.indexed import IndexedDataset\n"
        f"{PEAK}; before = peak()\n"
        "dataset = IndexedDataset(sys.argv[1]); assert dataset.document_count == 10**9, dataset.document_count\n"
        "print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(prefix)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2048, "kilobytes"


@needs_proc
def test_writing_and_appending_take_constant_memory(tmp_path: Path) -> None:
    code = (
        "import sys; import numpy as np; from steel_megatron.tokens.indexed import IndexedWriter\n"
        "ids, lengths = np.ones(2 << 20, np.int32), np.ones(2 << 20, np.int64)\n"
        f"{PEAK}\n"
        "with IndexedWriter(sys.argv[1] + '/warm') as writer: writer.add_many(ids, lengths)\n"
        "before = peak()\n"
        "with IndexedWriter(sys.argv[1] + '/data') as writer:\n"
        "    for _ in range(4): writer.add_many(ids, lengths)\n"
        "with IndexedWriter(sys.argv[1] + '/more') as writer: writer.append_dataset(sys.argv[1] + '/data')\n"
        "print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    grown, index = int(done.stdout) * 1024, os.path.getsize(tmp_path / "more.idx")
    assert index > 160 << 20
    assert grown < 48 << 20
