from __future__ import annotations

import itertools
from collections import Counter
from itertools import groupby

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.token_arrays import ArrayDataset, numbered_windows
from steel_megatron.config import ConfigError, DataError
from steel_megatron.samples.batches import BatchReader, DocumentOptions
from steel_megatron.samples.cutting.windows import SourceWindows
from steel_megatron.samples.mixing.phases import Phase
from steel_megatron.samples.order import Order

EOD = 9


def reader_of(documents: list[list[int]], length: int, **options: bool) -> BatchReader:
    windows = SourceWindows(ArrayDataset(documents), 0, len(documents), length)
    order = Order(3, [Phase.of(0, {"a": 1})], {"a": len(windows)})
    return BatchReader(order, {"a": windows}, length, DocumentOptions(**options, eod_id=EOD))


def test_tokens_labels_and_sample_numbers() -> None:
    sources = {"a": numbered_windows(6, 4), "b": numbered_windows(9, 4, first_token=1000)}
    order = Order(3, [Phase.of(0, {"a": 1, "b": 3})], {name: len(source) for name, source in sources.items()})
    batch = BatchReader(order, sources, 4).read(10, 8)
    for row, sample in enumerate(range(10, 18)):
        source, _, window = order.at(sample)
        first = window * 4 + (1000 if source == "b" else 0)
        assert batch.tokens_BS[row].tolist() == list(range(first, first + 4))
        assert batch.labels_BS[row].tolist() == list(range(first + 1, first + 5))
        assert batch.sources[row] == source
    assert batch.sample_ids_B.tolist() == list(range(10, 18))
    assert batch.loss_mask_BS.all()
    assert batch.positions_BS is None
    assert batch.lengths is None
    assert batch.tokens_BS.dtype == batch.labels_BS.dtype == batch.sample_ids_B.dtype == torch.int64
    assert batch.tokens_BS.is_contiguous()
    assert batch.labels_BS.is_contiguous()
    assert Counter(batch.sources) == {"a": 2, "b": 6}


long_documents = st.lists(st.lists(st.integers(0, EOD), max_size=9), min_size=1, max_size=20).filter(
    lambda documents: sum(map(len, documents)) > 13
)


@given(long_documents, st.integers(1, 12), st.integers(1, 5))
def test_documents_are_kept_apart(documents: list[list[int]], length: int, size: int) -> None:
    reader = reader_of(documents, length, reset_position_ids=True, reset_attention_mask=True)
    batch = reader.read(0, size)
    owner = [number for number, document in enumerate(documents) for _ in document]
    expected_positions, expected_lengths = [], []
    for sample in range(size):
        window = reader.order.at(sample).window
        row = owner[window * length : (window + 1) * length]
        parts = [len(list(part)) for _, part in groupby(row)]
        expected_lengths += parts
        expected_positions.append([position for part in parts for position in range(part)])
    assert batch.lengths == expected_lengths
    assert sum(expected_lengths) == size * length
    assert batch.cu_seqlens is not None
    assert batch.cu_seqlens.tolist() == [0, *itertools.accumulate(expected_lengths)]
    assert batch.positions_BS is not None
    assert batch.positions_BS.tolist() == expected_positions


def test_each_option_alone() -> None:
    documents = [[1, 2], [3, 4, 5, 6, 7]]
    positions_only = reader_of(documents, 3, reset_position_ids=True).read(0, 2)
    assert positions_only.lengths is positions_only.cu_seqlens is None
    assert sorted(positions_only.positions_BS.tolist()) == [[0, 1, 0], [0, 1, 2]]
    mask_only = reader_of(documents, 3, reset_attention_mask=True).read(0, 2)
    assert mask_only.positions_BS is None
    assert sorted(mask_only.lengths) == [1, 2, 3]


def test_no_loss_on_the_label_after_an_eod() -> None:
    # Megatron-LM's convention: the mask is 0 where the input is the end-of-document token. Predicting that token
    # itself, from the last word of a document, is trained.
    batch = reader_of([[1, 2, EOD], [3, EOD], [4, 5, 6]], 7, eod_mask_loss=True).read(0, 1)
    assert batch.tokens_BS.tolist() == [[1, 2, EOD, 3, EOD, 4, 5]]
    assert batch.labels_BS.tolist() == [[2, EOD, 3, EOD, 4, 5, 6]]
    assert batch.loss_mask_BS.tolist() == [[True, True, False, True, False, True, True]]
    assert batch.loss_mask_BS.dtype == torch.bool


def test_eod_mask_needs_the_token() -> None:
    with pytest.raises(ConfigError, match="--eod-mask-loss"):
        DocumentOptions(eod_mask_loss=True)


@pytest.mark.parametrize("bad", [-1, 10])
def test_token_outside_the_vocabulary_is_named(bad: int) -> None:
    windows = SourceWindows(ArrayDataset([[1, 2, 3, 4, bad]]), 0, 1, 2)
    order = Order(3, [Phase.of(0, {"a": 1})], {"a": 2})
    reader = BatchReader(order, {"a": windows}, 2, vocab_size=10)
    sample = next(n for n in range(2) if order.at(n).window == 1)
    with pytest.raises(
        DataError, match=rf"sample {sample} \(source 'a', window 1\): token {bad} with a vocabulary of 10"
    ):
        reader.read(0, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pinned_and_moved() -> None:
    batch = reader_of([list(range(9))], 4, reset_position_ids=True).read(0, 2)
    pinned = batch.pin_memory()
    assert pinned.tokens_BS.is_pinned()
    moved = pinned.to(torch.device("cuda"))
    assert moved.positions_BS.is_cuda
    assert torch.equal(moved.labels_BS.cpu(), batch.labels_BS)
