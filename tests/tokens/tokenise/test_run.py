"""From JSON lines to datasets, against a plain implementation, with everything that goes wrong."""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend

from helpers.json_lines import LINES, write_lines
from helpers.megatron_files import megatron_bytes, read_megatron
from helpers.sample_texts import TEXTS, random_texts
from helpers.small_tokenizer import small_tiktoken, small_tokenizer
from steel_megatron.config import ConfigError, DataError
from steel_megatron.jobs.hashes import hash_file
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.tokens.manifest import Manifest
from steel_megatron.tokens.tokenise.batch import EncodeJob, tokenize_batch
from steel_megatron.tokens.tokenise.lines import LineBatch
from steel_megatron.tokens.tokenise.run import tokenize

EOD = 597


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_tokenizer(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return build_tokenizer(None, folder)


def plain_documents(folder: Path, lines: list[bytes], append_eod: bool) -> list[list[list[int]]]:
    """Documents of sequences as Megatron's tool makes them, by json and tokenizers alone."""
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    backend.encode_special_tokens = True
    documents = []
    for line in lines:
        if LINES.get(line, None) is None and line.strip():
            ids = backend.encode(json.loads(line)["text"], add_special_tokens=False).ids
            documents.append([ids + [EOD] * append_eod] if ids else [])
    return documents


def many_lines(count: int) -> list[bytes]:
    generator = random.Random(count)
    texts = [*TEXTS.values(), *random_texts(40)]
    good = [json.dumps({"text": text}, ensure_ascii=generator.random() < 0.5).encode() for text in texts]
    return generator.choices([*good, *(line for line in LINES if len(line) < 1000), b"", b"  "], k=count)


def files_of(prefix: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in prefix.parent.glob(prefix.name + "*")}


@pytest.mark.parametrize("append_eod", [False, True])
def test_the_bytes_are_those_of_a_plain_implementation(tmp_path, folder, tokenizer, append_eod):
    lines = many_lines(2000)
    tokenize([write_lines(tmp_path / "a.jsonl", lines)], tmp_path / "x", tokenizer, append_eod=append_eod)
    documents = plain_documents(folder, lines, append_eod)
    assert [] in documents
    expected_bin, expected_idx = megatron_bytes(documents, "uint16")
    assert (tmp_path / "x_text_document.bin").read_bytes() == expected_bin
    assert (tmp_path / "x_text_document.idx").read_bytes() == expected_idx


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_writes_the_same(tmp_path, tokenizer, workers):
    paths = [write_lines(tmp_path / f"{i}.jsonl", many_lines(700 + i)) for i in range(3)]
    for number, name in ((1, "one"), (workers, "many")):
        (tmp_path / name).mkdir()
        tokenize(paths, tmp_path / name / "x", tokenizer, append_eod=True, workers=number, part_bytes=5000)
    one, many = files_of(tmp_path / "one" / "x"), files_of(tmp_path / "many" / "x")
    assert set(one) == {"x.rejects.jsonl", *(f"x_text_document.{end}" for end in ("bin", "idx", "manifest.json"))}
    assert one == many


def test_parts_of_any_size_write_the_same(tmp_path, tokenizer):
    path = write_lines(tmp_path / "a.jsonl", many_lines(300))
    for size in (1, 777, 1 << 20):
        tokenize([path], tmp_path / f"{size}", tokenizer, part_bytes=size)
    assert len({(tmp_path / f"{size}_text_document.bin").read_bytes() for size in (1, 777, 1 << 20)}) == 1
    assert len({(tmp_path / f"{size}.rejects.jsonl").read_bytes() for size in (1, 777, 1 << 20)}) == 1


def test_one_bad_line_in_a_thousand_costs_one_line(tmp_path, tokenizer):
    lines: list[bytes | str] = [f"document {i}" for i in range(1000)]
    lines[99] = b'{"text": "cut'
    path = write_lines(tmp_path / "a.jsonl", lines)
    done = tokenize([path], tmp_path / "x", tokenizer, workers=2)
    dataset = IndexedDataset(tmp_path / "x_text_document")
    assert dataset.document_count == 999
    assert tokenizer.decode(dataset.document(99)) == "document 100"
    assert done.rejected == 1
    (reject,) = map(json.loads, (tmp_path / "x.rejects.jsonl").read_text().splitlines())
    assert (reject["file"], reject["line"], reject["reason"]) == (str(path), 100, "bad_json")
    assert reject["content"] == '{"text": "cut'


def test_every_reject_is_kept_with_its_place_and_reason(tmp_path, tokenizer):
    lines = list(LINES)
    path = write_lines(tmp_path / "a.jsonl", [*lines, b"", *lines])
    done = tokenize([path], tmp_path / "x", tokenizer)
    rejects = [json.loads(line) for line in (tmp_path / "x.rejects.jsonl").read_text().splitlines()]
    expected = [(i, LINES[line]) for i, line in enumerate([*lines, b"", *lines], start=1) if LINES.get(line)]
    assert [(reject["line"], reject["reason"]) for reject in rejects] == expected
    manifest = next(iter(done.manifests.values()))
    assert sum(manifest.rejects.values()) == len(expected) == done.rejected
    assert manifest.documents + done.rejected + manifest.blank_lines == 2 * len(lines) + 1
    assert manifest.blank_lines == 1
    assert done.rejects_path == tmp_path / "x.rejects.jsonl"


def test_the_manifest_tells_what_is_there(tmp_path, tokenizer):
    paths = [write_lines(tmp_path / "a.jsonl", ["人工智能", "", "x"]), write_lines(tmp_path / "b.jsonl.gz", ["y"])]
    tokenize(paths, tmp_path / "x", tokenizer, append_eod=True)
    prefix = tmp_path / "x_text_document"
    manifest = Manifest.find(prefix)
    assert manifest is not None
    dataset = IndexedDataset(prefix)
    assert [record.path for record in manifest.inputs] == [str(path) for path in paths]
    for path, record in zip(paths, manifest.inputs, strict=True):
        assert record.bytes == path.stat().st_size
        assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for end in ("bin", "idx"):
        assert manifest.outputs[end].sha256 == hash_file(f"{prefix}.{end}").sha256
        assert manifest.outputs[end].bytes == Path(f"{prefix}.{end}").stat().st_size
    assert (
        (manifest.documents, manifest.tokens) == (4, len(dataset.tokens)) == (dataset.document_count, manifest.tokens)
    )
    assert manifest.largest_id == dataset.tokens.max() == EOD
    assert manifest.text_bytes == 12 + 1 + 1
    assert (manifest.key, manifest.append_eod, manifest.dtype, manifest.rejects) == ("text", True, "uint16", {})
    assert manifest.tokenizer.fingerprint == tokenizer.fingerprint
    assert (manifest.tokenizer.vocab_size, manifest.tokenizer.eod_id) == (600, EOD)
    assert not (tmp_path / "x.rejects.jsonl").exists()


def test_several_keys_give_parallel_datasets(tmp_path, tokenizer):
    records = [{"q": f"question {i}", "a": f"answer {i}"} for i in range(5)]
    records[2] = {"q": "no answer"}
    path = write_lines(tmp_path / "a.jsonl", [json.dumps(record).encode() for record in records])
    done = tokenize([path], tmp_path / "x", tokenizer, keys=["q", "a"])
    assert done.rejected == 1
    questions, answers = (IndexedDataset(tmp_path / f"x_{key}_document") for key in ("q", "a"))
    assert questions.document_count == answers.document_count == 4
    assert tokenizer.decode(questions.document(2)) == "question 3"
    assert tokenizer.decode(answers.document(2)) == "answer 3"


def test_a_large_vocabulary_takes_four_bytes(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", ["1 2 70000"])
    tokenize([path], tmp_path / "x", NullTokenizer(70_000 + 1), append_eod=True)
    assert read_megatron(tmp_path / "x_text_document") == ("int32", [[[1, 2, 70_000, 70_001]]])
    tokenize([write_lines(tmp_path / "b.jsonl", ["1 2"])], tmp_path / "y", NullTokenizer(65_498))
    assert read_megatron(tmp_path / "y_text_document") == ("uint16", [[[1, 2]]])
    tokenize([write_lines(tmp_path / "b.jsonl", ["1 2"])], tmp_path / "z", NullTokenizer(65_499))
    assert read_megatron(tmp_path / "z_text_document") == ("int32", [[[1, 2]]])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_text_that_the_tokenizer_refuses_is_a_reject(tmp_path, workers):
    path = write_lines(tmp_path / "a.jsonl", ["1 2", "3 x", b"broken", "4", "99"])
    done = tokenize([path], tmp_path / "x", NullTokenizer(50), workers=workers)
    assert read_megatron(tmp_path / "x_text_document")[1] == [[[1, 2]], [[4]]]
    rejects = [json.loads(line) for line in (tmp_path / "x.rejects.jsonl").read_text().splitlines()]
    assert [(reject["line"], reject["reason"]) for reject in rejects] == [
        (2, "not_encodable"),
        (3, "bad_json"),
        (5, "not_encodable"),
    ]
    assert done.rejected == 3


class Panic(BaseException):
    """As a compiled tokenizer's panic: no Exception."""


class PanickingTokenizer(NullTokenizer):
    def encode(self, text):
        if text == "7":
            raise Panic("stack overflow")
        return super().encode(text)


def test_a_panic_of_the_tokenizer_costs_one_line(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", ["6", "7", "8"])
    tokenize([path], tmp_path / "x", PanickingTokenizer(50))
    assert read_megatron(tmp_path / "x_text_document")[1] == [[[6]], [[8]]]
    assert "stack overflow" in (tmp_path / "x.rejects.jsonl").read_text()


class FailingEncoder:
    """A faster library that cannot take some texts."""

    def encode_batch(self, texts):
        if any("7" in text for text in texts):
            raise Panic("no sevens")
        return NullTokenizer(50).encode_batch(texts)


def test_what_a_faster_encoder_fails_on_goes_through_the_tokenizer(tmp_path):
    tokenizer = NullTokenizer(50)
    path = write_lines(tmp_path / "a.jsonl", ["6", "7 8", b"broken", "x 7", "9", ""])
    job = EncodeJob(FailingEncoder(), pickle.dumps(tokenizer), ("text",), 50, "uint16", {})
    done = tokenize_batch(job, LineBatch(path.read_bytes()))
    assert done.keys[0].ids_T.tolist() == [6, 50, 7, 8, 50, 9, 50]
    assert done.keys[0].lengths_B.tolist() == [2, 3, 2, 0]
    assert [(reject.line, reject.reason) for reject in done.rejects] == [(3, "bad_json"), (4, "not_encodable")]
    assert (done.lines, done.keys[0].text_bytes) == (6, 5)


def test_every_kind_of_tokenizer_writes_the_same_of_one_vocabulary(tmp_path, tokenizer):
    tiktoken = build_tokenizer(None, small_tiktoken(tmp_path / "small.tiktoken"))
    path = write_lines(tmp_path / "a.jsonl", list(TEXTS.values()))
    tokenize([path], tmp_path / "x", tokenizer, append_eod=True)
    # The same data: its manifest is known to the other form of the tokenizer.
    assert tokenize([path], tmp_path / "x", tiktoken, append_eod=True).done_before
    tokenize([path], tmp_path / "y", tiktoken, append_eod=True)
    assert (tmp_path / "x_text_document.bin").read_bytes() == (tmp_path / "y_text_document.bin").read_bytes()
    dataset = IndexedDataset(tmp_path / "y_text_document")
    assert tokenizer.decode(dataset.document(1)[:-1]) == unicodedata.normalize("NFC", list(TEXTS.values())[1])


@pytest.fixture
def written(tmp_path, tokenizer):
    """A dataset of one file; returns its path and the files as they are."""
    path = write_lines(tmp_path / "a.jsonl", ["one", "two", b"broken"])
    tokenize([path], tmp_path / "x", tokenizer)
    return path


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("x*")}


def test_the_same_again_is_left_alone(tmp_path, tokenizer, written):
    before = stamps(tmp_path)
    done = tokenize([written], tmp_path / "x", tokenizer)
    assert done.done_before
    assert done.rejected == 1
    assert done.rejects_path == tmp_path / "x.rejects.jsonl"
    assert stamps(tmp_path) == before
    # A copy of the input elsewhere is the same input.
    (tmp_path / "moved").mkdir()
    moved = written.rename(tmp_path / "moved" / "b.jsonl")
    assert tokenize([moved], tmp_path / "x", tokenizer).done_before


def test_overwrite_replaces_it(tmp_path, tokenizer, written):
    write_lines(written, ["three"])
    tokenize([written], tmp_path / "x", tokenizer, overwrite=True)
    dataset = IndexedDataset(tmp_path / "x_text_document")
    assert [tokenizer.decode(dataset.document(i)) for i in range(dataset.document_count)] == ["three"]
    assert not (tmp_path / "x.rejects.jsonl").exists()
    assert tokenize([written], tmp_path / "x", tokenizer).done_before


def test_anything_else_there_is_an_error(tmp_path, tokenizer, written):
    before = files_of(tmp_path / "x")

    def refused(message, *inputs, **settings):
        settings = {"tokenizer": tokenizer, **settings}
        with pytest.raises(DataError, match=message) as caught:
            tokenize(inputs or [written], tmp_path / "x", **settings)
        assert "--overwrite" in caught.value.fix
        assert files_of(tmp_path / "x") == before

    refused("without --append-eod", append_eod=True)
    refused("another tokenizer", tokenizer=NullTokenizer(5))
    refused("1 input files, now 2", written, write_lines(tmp_path / "b.jsonl", ["three"]))
    write_lines(written, ["one", "tow", b"broken"])
    refused("another content")
    write_lines(written, ["one"])
    refused("bytes, then")


def test_files_without_a_manifest_are_not_replaced(tmp_path, tokenizer, written):
    (tmp_path / "x_text_document.manifest.json").unlink()
    with pytest.raises(DataError, match="has no manifest"):
        tokenize([written], tmp_path / "x", tokenizer)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_dataset_that_its_manifest_does_not_fit_is_an_error(tmp_path, tokenizer, written, damage):
    path = tmp_path / "x_text_document.bin"
    path.write_bytes(path.read_bytes()[:-2]) if damage == "cut" else path.unlink()
    with pytest.raises(DataError, match=r"x_text_document\.bin has (gone|\d+ bytes)"):
        tokenize([written], tmp_path / "x", tokenizer)


def test_a_key_more_redoes_both(tmp_path, tokenizer):
    path = write_lines(tmp_path / "a.jsonl", [b'{"q": "x", "a": "y"}'])
    tokenize([path], tmp_path / "x", tokenizer, keys=["q"])
    assert not tokenize([path], tmp_path / "x", tokenizer, keys=["q", "a"]).done_before
    assert tokenize([path], tmp_path / "x", tokenizer, keys=["q", "a"]).done_before


def test_no_document_at_all_is_an_error(tmp_path, tokenizer):
    path = write_lines(tmp_path / "a.jsonl", [b'{"content": "x"}'] * 3)
    with pytest.raises(DataError, match=r"no document: 3 records rejected \(missing_key 3\)"):
        tokenize([path], tmp_path / "x", tokenizer)
    assert sorted(files_of(tmp_path / "x")) == ["x.rejects.jsonl"]
    (tmp_path / "b.jsonl").touch()
    with pytest.raises(DataError, match="no document"):
        tokenize([tmp_path / "b.jsonl"], tmp_path / "x", tokenizer)


def test_settings_that_cannot_work(tmp_path, tokenizer):
    path = write_lines(tmp_path / "a.jsonl", ["x"])
    for settings, message in (
        ({"workers": 0}, "--workers 0"),
        ({"keys": []}, "--json-keys"),
        ({"keys": ["a", "a"]}, "--json-keys"),
    ):
        with pytest.raises(ConfigError, match=message):
            tokenize([path], tmp_path / "x", tokenizer, **settings)


def test_append_eod_needs_an_end(tmp_path, folder):
    copy = tmp_path / "t"
    copy.mkdir()
    content = json.loads((folder / "tokenizer.json").read_text().replace("<|endoftext|>", "<|other|>"))
    (copy / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="no end-of-document id"):
        tokenize([write_lines(tmp_path / "a", ["x"])], tmp_path / "x", build_tokenizer(None, copy), append_eod=True)


def test_a_damaged_input_leaves_no_dataset(tmp_path, tokenizer):
    path = write_lines(tmp_path / "a.jsonl.gz", [f"line {i}" for i in range(5000)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.jsonl\.gz"):
        tokenize([path], tmp_path / "x", tokenizer, part_bytes=1000)
    assert not list(tmp_path.glob("x_*"))


def test_the_environment_is_left_as_it_was(tmp_path, tokenizer, monkeypatch):
    import os

    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    tokenize([write_lines(tmp_path / "a", ["x"])], tmp_path / "x", tokenizer)
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true"
