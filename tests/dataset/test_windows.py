from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.token_arrays import ArrayDataset, numbered_windows
from steel_megatron.dataset.windows import SourceWindows

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
