"""Corpora of the table: a record in the published schema, in the packing it is published in, and what options leave."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from helpers.corpus_files import read_json_lines, write_json_lines
from steel_megatron.config import ConfigError
from steel_megatron.corpus import RejectedRecordError, convert_corpus, find_corpus
from steel_megatron.corpus.published_table import PUBLISHED

NAMES = sorted(vars(PUBLISHED))


def text_of(name: str, record: dict[str, Any], **options: str) -> str:
    corpus = find_corpus(name)
    settings = corpus.prepare({option.name: option.default for option in corpus.options} | options)
    return str(corpus.text(record, settings))


def reason_of(name: str, record: dict[str, Any], **options: str) -> str:
    with pytest.raises(RejectedRecordError) as caught:
        text_of(name, record, **options)
    assert caught.value.reason in find_corpus(name).reasons
    return caught.value.reason


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("packing", ["jsonl.gz", "jsonl.zst", "parquet", "tar"])
def test_records_come_out_of_every_packing(name: str, packing: str, tmp_path: Path) -> None:
    corpus = find_corpus(name)
    records = [dict(corpus.example), dict(corpus.example)]
    lines = b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)
    path = tmp_path / f"part_000.{packing}"
    if packing == "jsonl.gz":
        path.write_bytes(gzip.compress(lines[:50]) + gzip.compress(lines[50:]))
    elif packing == "jsonl.zst":
        path.write_bytes(zstandard.ZstdCompressor().compress(lines))
    elif packing == "parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo("data/0.jsonl")
            info.size = len(lines)
            archive.addfile(info, io.BytesIO(lines))
    output = tmp_path / "out.jsonl"
    done = convert_corpus(name, [path], output)
    assert (done.manifest.documents, done.rejected) == (2, 0)
    text = next(corpus.example[field] for field in ("text", "content", "data") if field in corpus.example)
    assert [document["text"] for document in read_json_lines(output)] == [text] * 2
    assert {document["source"] for document in read_json_lines(output)} == {name}


def test_scores_are_compared_where_they_are_asked_for() -> None:
    record = {"content": "文", "score": 0.5, "source": "CCI3"}
    assert text_of("ultra_fineweb", record) == "文"
    assert text_of("ultra_fineweb", record, min_score="0.5") == "文"
    assert reason_of("ultra_fineweb", record, min_score="0.51") == "low_score"
    assert reason_of("ultra_fineweb", record | {"score": float("nan")}, min_score="0") == "low_score"
    assert reason_of("ultra_fineweb", record | {"score": None}, min_score="0") == "no_score"
    assert reason_of("ultra_fineweb", {"content": "文"}, min_score="0") == "no_score"
    assert text_of("ultra_fineweb", {"content": "文"}) == "文"


def test_a_score_may_be_text_or_lie_in_text_of_json() -> None:
    whole = {"id": "1", "content": "文", "meta_info": {"quality_score": "3.5"}}
    for record in (whole, whole | {"meta_info": json.dumps(whole["meta_info"])}):
        assert text_of("cci3", record, min_score="3.5") == "文"
        assert reason_of("cci3", record, min_score="4") == "low_score"
    assert text_of("cci3", {"id": "1", "text": "高质量", "score": "4.2"}, min_score="4") == "高质量"
    assert reason_of("cci3", whole | {"meta_info": "no json"}, min_score="1") == "no_score"


def test_a_score_that_stands_elsewhere_is_named() -> None:
    record = {"text": "文", "labels": {"edu": "0.7"}}
    assert text_of("cci4", record, min_score="0.7", score_field="labels.edu") == "文"
    assert reason_of("cci4", record, min_score="0.8", score_field="labels.edu") == "low_score"
    with pytest.raises(RejectedRecordError, match=r"no_score: nothing at score, .* among 'text', 'labels'"):
        text_of("cci4", record, min_score="0.7")


def test_of_two_text_fields_the_one_that_is_there_counts() -> None:
    assert text_of("cci3", {"text": None, "content": "文"}) == "文"
    with pytest.raises(RejectedRecordError, match="missing_field: no 'text'"):
        text_of("cci3", {"id": "1"})


def test_domain_toxicity_and_quality_of_a_page() -> None:
    page = dict(find_corpus("chinese_web_text2").example)
    assert text_of("chinese_web_text2", page, category="education, law") == page["text"]
    assert reason_of("chinese_web_text2", page, category="law") == "other_category"
    assert text_of("chinese_web_text2", page, max_toxicity="0.99", min_score="0.9") == page["text"]
    toxic = page | {"toxicity": {"label": 1, "score": 0.995}}
    assert reason_of("chinese_web_text2", toxic, max_toxicity="0.99") == "toxic"
    assert reason_of("chinese_web_text2", page | {"toxicity": None}, max_toxicity="0.99") == "no_score"


def test_languages_and_sources() -> None:
    page = dict(find_corpus("fineweb2").example)
    assert text_of("fineweb2", page, language="cmn,yue") == page["text"]
    assert reason_of("fineweb2", page, language="yue") == "other_language"
    assert (
        reason_of("fineweb_edu_zh", {"text": "文", "score": 1, "source": "SkyPile"}, category="CCI3")
        == "other_category"
    )


def test_a_limit_is_a_number() -> None:
    with pytest.raises(ConfigError, match="--min-score high"):
        text_of("cci3", {"text": "文"}, min_score="high")


@pytest.mark.parametrize(("split", "kept"), [("train", {"训练"}), ("test", {"测试"}), ("", {"训练", "测试"})])
def test_the_test_split_is_no_training_data(split: str, kept: set[str], tmp_path: Path) -> None:
    for folder, text in (("train", "训练"), ("test", "测试")):
        write_json_lines(tmp_path / "data" / "cmn_Hani" / folder / "000.jsonl", [{"text": text, "language": "cmn"}])
    done = convert_corpus("fineweb2", [tmp_path / "data"], tmp_path / "out.jsonl", options={"split": split})
    assert {document["text"] for document in read_json_lines(tmp_path / "out.jsonl")} == kept
    assert len(done.manifest.passed_over) == 2 - len(kept)


def test_files_are_named_after_their_splits_too(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "问"}, {"from": "gpt", "value": "答"}]
    for name in ("train_sft-00000-of-00002", "train_sft-00001-of-00002", "test_sft-00000-of-00001", "testimony"):
        write_json_lines(tmp_path / "data" / f"{name}.jsonl", [{"id": name, "conversations": turns}])
    done = convert_corpus("chat", [tmp_path / "data"], tmp_path / "out.jsonl")
    assert done.manifest.passed_over == ("test_sft-00000-of-00001.jsonl",)
    assert done.manifest.documents == 3


def test_a_split_that_is_named_itself_is_read(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "test" / "000.jsonl", [{"text": "测试"}])
    convert_corpus("finepdfs", [tmp_path / "test"], tmp_path / "out.jsonl")
    assert read_json_lines(tmp_path / "out.jsonl")[0]["text"] == "测试"


def test_wudao_files_are_arrays_of_titled_pages(tmp_path: Path) -> None:
    page = dict(find_corpus("wudao").example)
    pages = [
        page,
        page | {"title": "", "uniqueKey": "b"},
        page | {"content": f"{page['title']} {page['content']}", "uniqueKey": "c", "dataType": "百科"},
        page | {"content": " ", "uniqueKey": "d"},
    ]
    path = tmp_path / "part-2021009337.json"
    path.write_text(json.dumps(pages, ensure_ascii=False, indent=4), encoding="utf-8")
    done = convert_corpus("wudao", [path], tmp_path / "out.jsonl")
    assert [document["text"] for document in read_json_lines(tmp_path / "out.jsonl")] == [
        "深海探测器完成首航\n新华社报道，探测器昨日返回港口。",
        "新华社报道，探测器昨日返回港口。",
        "深海探测器完成首航 新华社报道，探测器昨日返回港口。",
    ]
    assert done.manifest.rejects == {"no_body": 1}
    only = convert_corpus("wudao", [path], tmp_path / "baike.jsonl", options={"category": "百科"})
    assert (only.manifest.documents, only.manifest.rejects) == (1, {"other_category": 3})
