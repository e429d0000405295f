from __future__ import annotations

import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.token_arrays import ArrayDataset, numbered_windows
from helpers.token_files import write_sparse_dataset
from steel_megatron.samples.cutting.windows import SourceWindows
from steel_megatron.samples.mixing.phases import Phase
from steel_megatron.samples.order import Order
from steel_megatron.tokens.indexed import IndexedDataset, IndexedWriter

documents = st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=1, max_size=20)


@given(documents, st.integers(1, 9), st.data())
def test_windows_tile_the_range(docs: list[list[int]], length: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(docs)))
    last = data.draw(st.integers(first, len(docs)))
    windows = SourceWindows(ArrayDataset(docs), first, last, length)
    flat = [token for document in docs[first:last] for token in document]
    assert windows.tokens == len(flat)
    assert windows.documents == last - first
    assert len(windows) == max((len(flat) - 1) // length, 0)
    labels = [token for k in range(len(windows)) for token in windows[k][1:].tolist()]
    inputs = [token for k in range(len(windows)) for token in windows[k][:-1].tolist()]
    assert inputs == flat[: len(windows) * length]
    assert labels == flat[1 : len(windows) * length + 1]


@given(documents, st.integers(1, 9), st.data())
def test_document_starts(docs: list[list[int]], length: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(docs)))
    windows = SourceWindows(ArrayDataset(docs), first, len(docs), length)
    owner = [number for number, document in enumerate(docs[first:]) for _ in document]
    for k in range(len(windows)):
        here = owner[k * length : (k + 1) * length]
        assert windows.document_starts(k).tolist() == [i for i in range(1, length) if here[i] != here[i - 1]]


@settings(max_examples=15)
@given(documents.filter(any), st.integers(1, 9))
def test_files_give_the_same_as_memory(docs: list[list[int]], length: int) -> None:
    with TemporaryDirectory() as folder:
        with IndexedWriter(f"{folder}/data", "uint16") as writer:
            for document in docs:
                halves = [document[: len(document) // 2], document[len(document) // 2 :]]  # two sequences
                writer.add_document([np.array(half, np.uint16) for half in halves if half])
        files = SourceWindows(IndexedDataset(f"{folder}/data"), 0, len(docs), length)
        memory = SourceWindows(ArrayDataset(docs), 0, len(docs), length)
        assert len(files) == len(memory)
        for k in range(len(files)):
            assert files[k].tolist() == memory[k].tolist()
            assert files.document_starts(k).tolist() == memory.document_starts(k).tolist()


def test_first_sample_of_a_trillion_tokens_touches_next_to_nothing(tmp_path: Path) -> None:
    length = 2 * 10**9
    prefix = write_sparse_dataset(tmp_path / "sparse", documents=500, length=length)
    before = resident_bytes("sparse.bin")
    tracemalloc.start()
    dataset = IndexedDataset(prefix)
    windows = SourceWindows(dataset, 0, 500, 2048)
    order = Order(1234, [Phase.of(0, {"web": 1})], {"web": len(windows)})
    tokens = [np.array(windows[order.at(sample).window]) for sample in range(3)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert windows.tokens == 10**12
    assert len(windows) == (10**12 - 1) // 2048
    assert all(len(part) == 2049 for part in tokens)
    assert peak < 1 << 20
    assert resident_bytes("sparse.bin") - before < 4 << 20
    last = len(windows) - 1
    assert windows[last].tolist() == [0] * 2049
    boundary = length // 2048
    assert windows.document_starts(boundary).tolist() == [length - boundary * 2048]


def resident_bytes(name: str) -> int:
    """Bytes of mapped files of that name that are in memory; 0 where the system does not say."""
    resident, inside = 0, False
    maps = Path("/proc/self/smaps")
    for line in maps.read_text().splitlines() if maps.exists() else ():
        if "-" in line.split()[0]:
            inside = line.endswith(name)
        elif inside and line.startswith("Rss:"):
            resident += 1024 * int(line.split()[1])
    return resident


def test_windows_are_views() -> None:
    windows = numbered_windows(5, 4)
    assert np.shares_memory(windows[3], windows.dataset.tokens)
    assert windows[3].tolist() == [12, 13, 14, 15, 16]


@pytest.mark.parametrize("window", [-1, 5])
def test_window_outside(window: int) -> None:
    windows = numbered_windows(5, 4)
    with pytest.raises(IndexError, match="of 5"):
        windows[window]
    with pytest.raises(IndexError, match="of 5"):
        windows.document_starts(window)
