"""Packed samples: every document whole where it fits, and an order that is arithmetic."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.megatron_files import write_megatron
from helpers.tiny_run import run_config, train
from steel_megatron.config import DataError
from steel_megatron.samples.batches import BatchReader
from steel_megatron.samples.cutting import packing_index as index_module
from steel_megatron.samples.mixing.phases import Phase
from steel_megatron.samples.order import Order
from steel_megatron.samples.sources import PackingOptions, open_source
from steel_megatron.training.output.metrics_rows import read_metrics


def packed(folder: str, docs: list[list[int]], length: int):
    prefix = write_megatron(f"{folder}/data", [[doc] if doc else [] for doc in docs], "int32")
    return open_source("data", prefix, length, None, packing=PackingOptions(best_fit=True)).windows["train"]


document_lists = st.lists(st.integers(0, 30), min_size=1, max_size=30).map(
    lambda lengths: [
        list(range(start, start + length))
        for start, length in zip(np.cumsum([1, *lengths]).tolist(), lengths, strict=False)
    ]
)


@settings(max_examples=60, deadline=None)
@given(document_lists, st.integers(1, 12), st.integers(1, 9), st.integers(1, 40))
def test_documents_stay_whole_where_they_fit(docs: list[list[int]], length: int, documents: int, pieces: int) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "BLOCK_DOCUMENTS", documents)
        patch.setattr(index_module, "BLOCK_PIECES", pieces)
        windows = packed(folder, docs, length)
        labels: list[int] = []
        found: list[list[int]] = []
        for number in range(len(windows)):
            tokens, counted = windows[number].tolist(), windows.counted(number)
            labels += [token for token, counts in zip(tokens[1:], counted, strict=True) if counts]
            starts = [0, *windows.document_starts(number).tolist()]
            real = sum(size for _, size in windows.pieces(number))
            assert real <= length + 1
            assert all(token == 0 for token in tokens[real:])
            place = 0
            for _, size in windows.pieces(number):
                found.append(tokens[place : place + size])
                assert place in starts or place == length
                place += size
    # Every document that fits is a piece; the pieces of the others overlap by the token that is input only.
    expected = []
    for doc in docs:
        cuts = range(0, max(len(doc) - 1, 1), length) if doc else ()
        expected += [doc[cut : cut + length + 1] for cut in cuts]
    assert sorted(found) == sorted(expected)
    # Every token but the first of its document is a label once.
    assert sorted(labels) == sorted(token for doc in docs for token in doc[1:])


@settings(max_examples=20, deadline=None)
@given(document_lists.filter(any), st.integers(2, 12), st.integers(0, 2**31), st.integers(0, 500))
def test_the_order_is_a_pure_function(docs: list[list[int]], length: int, seed: int, sample: int) -> None:
    rows = []
    for _ in range(2):  # another folder, another index file, another reader that has read nothing before
        with TemporaryDirectory() as folder:
            windows = packed(folder, docs, length)
            order = Order(seed, [Phase.of(0, {"data": 1})], {"data": len(windows)})
            batch = BatchReader(order, {"data": windows}, length).read(sample, 2)
            rows.append((batch.tokens_BS.tolist(), batch.labels_BS.tolist(), batch.loss_mask_BS.tolist()))
    assert rows[0] == rows[1]


def test_training_on_packed_samples_and_resuming(tmp_path: Path) -> None:
    config = run_config(tmp_path, packing="best-fit", reset_attention_mask=True, reset_position_ids=True, train_iters=6)
    train(config, "--save", str(tmp_path / "whole"))
    train(config, "--save", str(tmp_path / "cut"), "--exit-interval", "3")
    train(config, "--save", str(tmp_path / "cut"))
    whole, cut = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))
    assert [row["loss"] for row in whole] == [row["loss"] for row in cut]
    assert sum(row["loss_tokens"] for row in whole) < 6 * 8 * 16  # padding and first tokens do not count
    output = train(config, "--save", str(tmp_path / "cut"), "--packing", "none", "--train-iters", "9", status=2)
    assert "error: --packing" in output


def test_no_sample_from_empty_documents(tmp_path: Path) -> None:
    assert len(packed(str(tmp_path), [[], []], 8)) == 0
    with pytest.raises(IndexError):
        packed(str(tmp_path), [[1, 2]], 8)[1]
    with pytest.raises(DataError):
        open_source("data", str(tmp_path / "none"), 8, None)
