"""Documents in a random order that depends on the seed and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.json_lines import write_lines
from steel_megatron.config import DataError
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.tokens.tokenise.run import tokenize
from steel_megatron.tokens.tokenise.shuffled import Buckets, document_keys


def documents(count: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.arange(count, dtype=np.int64) % 7
    return np.repeat(np.arange(count, dtype=np.int32), lengths), lengths


def order_of(folder, buckets: int, batch: int, seed: int = 5, count: int = 1000) -> list[tuple[int, int]]:
    """First id and length of every document in the new order (-1 for an empty one)."""
    ids, lengths = documents(count)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    shuffled = Buckets(folder, "int32", seed, buckets * (128 << 20))
    for start in range(0, count, batch):
        stop = min(start + batch, count)
        shuffled.add(ids[ends[start] : ends[stop]], lengths[start:stop])
    found = []
    for bucket in shuffled.shuffled(0):
        at = 0
        for length in bucket.lengths_B.tolist():
            part = bucket.ids_T[at : at + length]
            assert len(set(part.tolist())) <= 1
            found.append((int(part[0]) if length else -1, length))
            at += length
        assert at == len(bucket.ids_T)
    return found


def test_the_order_does_not_depend_on_buckets_or_batches(tmp_path):
    first = order_of(tmp_path / "a", 1, 1000)
    assert order_of(tmp_path / "b", 16, 1000) == first
    assert order_of(tmp_path / "c", 300, 17) == first
    assert order_of(tmp_path / "d", 1, 1000, seed=6) != first
    keys = document_keys(5, 0, 1000)
    _, lengths = documents(1000)
    assert first == [(n if lengths[n] else -1, lengths[n]) for n in np.argsort(keys).tolist()]


def test_it_is_a_shuffle():
    """Neighbours in the input are far apart, and the keys are spread evenly."""
    keys = document_keys(1, 0, 100_000)
    places = np.argsort(np.argsort(keys))
    assert abs(np.abs(np.diff(places)).mean() / 100_000 - 1 / 3) < 0.01
    assert np.abs(np.bincount((keys >> np.uint64(60)).astype(np.int64)) - 6250).max() < 400
    assert len(np.unique(keys)) == 100_000
    assert (document_keys(1, 500, 10) == keys[500:510]).all()


def test_a_shuffled_dataset(tmp_path):
    lines: list[bytes | str] = [f"{n} {n}" if n % 9 else "" for n in range(500)]
    lines[3] = b"broken"
    path = write_lines(tmp_path / "a.jsonl", lines)
    for name, workers in (("one", 1), ("two", 2)):
        done = tokenize(
            [path],
            tmp_path / name,
            NullTokenizer(1000),
            shuffle_seed=4,
            workers=workers,
            block_bytes=400,
            keys=["text"],
        )
    assert next(iter(done.manifests.values())).shuffle_seed == 4
    one, two = ((tmp_path / f"{name}_text_document.bin").read_bytes() for name in ("one", "two"))
    assert one == two
    dataset = IndexedDataset(tmp_path / "one_text_document")
    found = [dataset.document(i).tolist() for i in range(dataset.document_count)]
    kept = [n for n in range(500) if n != 3]
    order = np.argsort(document_keys(4, 0, len(kept)))
    assert found == [[kept[i]] * 2 if kept[i] % 9 else [] for i in order.tolist()]
    with pytest.raises(DataError, match="shuffled with seed 4, now in the order of the input"):
        tokenize([path], tmp_path / "one", NullTokenizer(1000))


def test_several_keys_stay_parallel(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [b'{"q": "%d", "a": "%d %d"}' % (n, n, n) for n in range(100)])
    tokenize([path], tmp_path / "x", NullTokenizer(1000), keys=["q", "a"], shuffle_seed=1)
    questions, answers = (IndexedDataset(tmp_path / f"x_{key}_document") for key in ("q", "a"))
    assert [questions.document(i)[0] for i in range(100)] == [answers.document(i)[1] for i in range(100)]
