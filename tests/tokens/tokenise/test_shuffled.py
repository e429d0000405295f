"""Documents in a random order that depends on the seed and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.json_lines import write_lines
from steel_megatron.config import DataError
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.tokens.tokenise import join, shuffled
from steel_megatron.tokens.tokenise.run import tokenize
from steel_megatron.tokens.tokenise.shuffled import document_keys


def order_of(folder: Path, seed: int = 5, count: int = 1000, **settings: int) -> list[tuple[int, int]]:
    """First id and length of every document in the new order (-1 for an empty one)."""
    path = write_lines(folder.parent / f"{count}.jsonl", [" ".join([str(n)] * (n % 7)) for n in range(count)])
    tokenize([path], folder / "x", NullTokenizer(1000), shuffle_seed=seed, **settings)
    dataset = IndexedDataset(folder / "x_text_document")
    dataset.validate()
    found = [dataset.document(i).tolist() for i in range(dataset.document_count)]
    assert all(len(set(ids)) <= 1 for ids in found)
    return [(ids[0] if ids else -1, len(ids)) for ids in found]


def test_the_order_does_not_depend_on_buckets_groups_or_parts(tmp_path, monkeypatch):
    first = order_of(tmp_path / "a")
    for number, (bucket, group, part) in enumerate([(600, 1 << 20, 500), (37, 300, 900), (1 << 20, 400, 100)]):
        monkeypatch.setattr(shuffled, "BUCKET_BYTES", bucket)
        monkeypatch.setattr(join, "GROUP_BYTES", group)
        assert order_of(tmp_path / f"b{number}", part_bytes=part, workers=1 + number % 2) == first
    assert order_of(tmp_path / "d", seed=6) != first
    keys = document_keys(5, np.arange(1000, dtype=np.uint64))
    assert first == [(n if n % 7 else -1, n % 7) for n in np.argsort(keys).tolist()]


def test_the_disk_holds_the_ids_little_more_than_once(tmp_path, monkeypatch):
    monkeypatch.setattr(shuffled, "BUCKET_BYTES", 40)
    monkeypatch.setattr(join, "GROUP_BYTES", 300)
    sizes, real = [], shuffled.gather_bucket

    def measured(job, bucket):
        sizes.append(sum(path.stat().st_size for path in (tmp_path / "x" / "x.parts.partial").glob("used.*.ids")))
        return real(job, bucket)

    monkeypatch.setattr(shuffled, "gather_bucket", measured)
    order_of(tmp_path / "x", part_bytes=900)
    assert len(sizes) == 256
    assert all(size < sizes[0] * (1 - n / 256 + 2 / shuffled.TRIMS) for n, size in enumerate(sizes))


def test_it_is_a_shuffle():
    """Neighbours in the input are far apart, and the keys are spread evenly."""
    keys = document_keys(1, np.arange(100_000, dtype=np.uint64))
    places = np.argsort(np.argsort(keys))
    assert abs(np.abs(np.diff(places)).mean() / 100_000 - 1 / 3) < 0.01
    assert np.abs(np.bincount((keys >> np.uint64(60)).astype(np.int64)) - 6250).max() < 400
    assert len(np.unique(keys)) == 100_000
    assert (document_keys(1, np.arange(500, 510, dtype=np.uint64)) == keys[500:510]).all()


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
            part_bytes=400,
            keys=["text"],
        )
    assert next(iter(done.manifests.values())).shuffle_seed == 4
    one, two = ((tmp_path / f"{name}_text_document.bin").read_bytes() for name in ("one", "two"))
    assert one == two
    dataset = IndexedDataset(tmp_path / "one_text_document")
    found = [dataset.document(i).tolist() for i in range(dataset.document_count)]
    kept = [n for n in range(500) if n != 3]
    order = np.argsort(document_keys(4, np.arange(len(kept), dtype=np.uint64)))
    assert found == [[kept[i]] * 2 if kept[i] % 9 else [] for i in order.tolist()]
    with pytest.raises(DataError, match="shuffled with seed 4, now in the order of the input"):
        tokenize([path], tmp_path / "one", NullTokenizer(1000))


def test_several_keys_stay_parallel(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [b'{"q": "%d", "a": "%d %d"}' % (n, n, n) for n in range(100)])
    tokenize([path], tmp_path / "x", NullTokenizer(1000), keys=["q", "a"], shuffle_seed=1)
    questions, answers = (IndexedDataset(tmp_path / f"x_{key}_document") for key in ("q", "a"))
    assert [questions.document(i)[0] for i in range(100)] == [answers.document(i)[1] for i in range(100)]
