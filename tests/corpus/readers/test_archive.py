"""Records inside archives, at URLs, and in what people send."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from helpers.corpus_files import read_json_lines, write_json_lines, write_parquet
from helpers.pdf_files import pdf_bytes
from steel_megatron.config import DataError
from steel_megatron.corpus import convert_corpus


def line(text: str) -> bytes:
    return json.dumps({"id": text, "content": text}, ensure_ascii=False).encode() + b"\n"


def tar_bytes(members: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]  # one of tarfile's modes
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def zip_bytes(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_members_of_archives_as_published(tmp_path: Path) -> None:
    members = {"part-1.jsonl": line("一") + b"{broken\n" + line("二"), "README": b"prose\n", "._x": b"junk"}
    write(tmp_path / "in" / "CN" / "a.jsonl.tar.gz", tar_bytes(members))
    write(
        tmp_path / "in" / "EN" / "b.zip",
        zip_bytes({"deep/c.jsonl.gz": gzip.compress(line("三")), "d.json": b"[" + line("四") + b"]"}),
    )
    write(tmp_path / "in" / "EN" / "nested.tar", tar_bytes({"e.tar.gz": tar_bytes({"f.jsonl": line("五")})}, "w"))
    outputs = []
    for workers, part_bytes in ((1, 1), (2, 1 << 20)):
        output = tmp_path / f"{workers}.jsonl"
        done = convert_corpus("wanjuan", [tmp_path / "in"], output, workers=workers, part_bytes=part_bytes)
        outputs.append(output.read_bytes())
        assert [document["text"] for document in read_json_lines(output)] == ["一", "二", "三", "四", "五"]
        assert done.manifest.passed_over == ("CN/a.jsonl.tar.gz/README", "CN/a.jsonl.tar.gz/._x")
        assert done.rejects_path is not None
        [reject] = read_json_lines(done.rejects_path)
        assert (reject["member"], reject["line"], reject["reason"]) == ("part-1.jsonl", 2, "bad_json")
    assert outputs[0] == outputs[1]


def test_ids_name_the_member(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar.gz", tar_bytes({"x/b.jsonl": b'{"text": "x"}\n'}))
    done = convert_corpus("skypile", [path], tmp_path / "out.jsonl")
    assert [document["id"] for document in read_json_lines(done.output)] == ["a.tar.gz/x/b.jsonl:1"]


def test_parquet_in_an_archive_and_packed(tmp_path: Path) -> None:
    data = write_parquet(tmp_path / "a.parquet", {"content": ("string", ["int x;", None])}).read_bytes()
    write(tmp_path / "in" / "a.zip", zip_bytes({"a.parquet": data}))
    write(tmp_path / "in" / "b.parquet.gz", gzip.compress(data))
    done = convert_corpus("starcoder", [tmp_path / "in"], tmp_path / "out.jsonl")
    assert [document["text"] for document in read_json_lines(done.output)] == ["int x;"] * 2
    assert done.manifest.rejects == {"null_field": 2}


def damaged_archives() -> dict[str, bytes]:
    noise = {f"{i}.jsonl": line(random.Random(i).randbytes(3000).hex()) for i in range(6)}
    plain, packed, zipped = tar_bytes(noise, "w"), tar_bytes(noise), zip_bytes(noise)
    second = plain.index(b"1.jsonl")
    return {
        "tar cut within a member": plain[:20_000],
        "tar cut between members": plain[:second],
        "tar without its end": plain[: plain.index(b"5.jsonl") + 512 + 6144 + 512],
        "tar with a broken header": plain[: second + 148] + b"999999" + plain[second + 154 :],
        "tar.gz cut": packed[: len(packed) // 2],
        "zip cut": zipped[: len(zipped) // 2],
        "zip with a changed byte": zipped[:9000] + bytes([zipped[9000] ^ 1]) + zipped[9001:],
        "packed member cut": tar_bytes({"a.jsonl.gz": gzip.compress(b"".join(noise.values()))[:-500]}),
    }


@pytest.mark.parametrize("damage", damaged_archives())
def test_a_damaged_archive_is_an_error_and_never_a_shorter_one(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path / "bad", damaged_archives()[damage])
    with pytest.raises(DataError, match="bad"):
        convert_corpus("wanjuan", [path], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_conversations_a_file_each(tmp_path: Path) -> None:
    record = {"chat": {"turn_1": {"Human": "<|Human|>: 问<eoh>\n", "MOSS": "<|MOSS|>: 答<eom>\n"}}}
    write(tmp_path / "in" / "1.json", json.dumps(record, indent=2, ensure_ascii=False).encode())
    write(tmp_path / "in" / "2.json", json.dumps(record).encode())
    write(tmp_path / "in" / "3.json", json.dumps(record, indent=2).encode()[:-9])
    done = convert_corpus("moss", [tmp_path / "in"], tmp_path / "out.jsonl")
    assert len(read_json_lines(done.output)) == 2
    assert done.manifest.rejects == {"bad_json": 1}


def test_what_people_send(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    answers = "序号,提交答卷时间,您的姓名,您的建议,还有呢\n"
    answers += "1,2024/3/1,某某,多放方言,\n2,2024/3/2,甲,古诗,对联\n3,2024/3/3,乙,,\n"
    write(folder / "answers.csv", answers.encode("gb18030"))
    write(folder / "text.txt", "我家乡的方言，与普通话不同。\r\n第二行".encode("gb18030"))
    write(folder / "utf16.txt", "第一行，英文 English".encode("utf-16"))
    write(folder / "book.pdf", pdf_bytes(["第一章，总则\n本办法适用于此。", "第二页"]))
    write(folder / "scan.pdf", pdf_bytes(["", ""]))
    write(folder / "broken.pdf", b"%PDF-1.4\nnothing")
    write(folder / "photo.jpg", b"\xff\xd8\xff\xe0\0\0")
    write(folder / "more.zip", zip_bytes({"a.txt": b"in a zip", "b.pdf": pdf_bytes(["a PDF in it"])}))
    done = convert_corpus("contributed", [folder], tmp_path / "out.jsonl")
    assert {document["id"]: document["text"] for document in read_json_lines(done.output)} == {
        "answers.csv:1": "您的建议：多放方言",
        "answers.csv:2": "您的建议：古诗\n还有呢：对联",
        "text.txt": "我家乡的方言，与普通话不同。\n第二行",
        "utf16.txt": "第一行，英文 English",
        "book.pdf": "第一章，总则\n本办法适用于此。\n第二页",
        "more.zip/a.txt": "in a zip",
        "more.zip/b.pdf": "a PDF in it",
    }
    assert done.manifest.rejects == {"bad_pdf": 1, "no_cells": 1, "scanned_pdf": 1}
    assert done.manifest.passed_over == ("photo.jpg",)


def test_names_of_members_in_gbk(tmp_path: Path) -> None:
    data = zip_bytes({"AAAA.txt": b"text"}).replace(b"AAAA", "方言".encode("gbk"))
    done = convert_corpus("contributed", [write(tmp_path / "a.zip", data)], tmp_path / "out.jsonl")
    assert [document["id"] for document in read_json_lines(done.output)] == ["a.zip/方言.txt"]


def test_what_is_locked_is_rejected(tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf_bytes(["locked text"])))
    writer.encrypt("secret", algorithm="RC4-128")
    with open(tmp_path / "a.pdf", "wb") as file:
        writer.write(file)
    locked = zip_bytes({"a.pdf": pdf_bytes(["locked text"])})
    local, central = locked.index(b"PK\3\4") + 6, locked.index(b"PK\1\2") + 8
    locked = locked[:local] + b"\1" + locked[local + 1 : central] + b"\1" + locked[central + 1 :]
    good = write(tmp_path / "c.pdf", pdf_bytes(["open text"]))
    inputs = [tmp_path / "a.pdf", write(tmp_path / "b.zip", locked), good]
    done = convert_corpus("pdf", inputs, tmp_path / "out.jsonl")
    assert [document["text"] for document in read_json_lines(done.output)] == ["open text"]
    assert done.manifest.rejects == {"encrypted": 2}


def test_urls(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    lines = [{"text": f"第{i}页"} for i in range(300)]
    path = write_json_lines(tmp_path / "in" / "sub" / "a.jsonl", lines)
    write_parquet(tmp_path / "in" / "b.parquet", {"text": ("string", ["行"])})
    expected = convert_corpus("skypile", [tmp_path / "in"], tmp_path / "out.jsonl", part_bytes=1000).output.read_bytes()
    for name in ("sub/a.jsonl", "b.parquet"):
        memory.pipe(f"/crawl/{name}", (tmp_path / "in" / name).read_bytes())
    for number, url in enumerate(("memory://crawl", f"file://{tmp_path}/in", f"file://{tmp_path}/in/**")):
        workers = 2 if url.endswith("/in") else 1  # memory is of one process
        output = tmp_path / f"{number}.jsonl"
        assert (
            convert_corpus("skypile", [url], output, workers=workers, part_bytes=1000).output.read_bytes() == expected
        )
        assert convert_corpus("skypile", [url], output).done_before
    memory.pipe("/crawl/sub/a.jsonl", path.read_bytes() + b'{"text": "new"}\n')
    with pytest.raises(DataError, match="made from other files"):
        convert_corpus("skypile", ["memory://crawl"], tmp_path / "0.jsonl")
    with pytest.raises(DataError, match="no input file at memory://nowhere"):
        convert_corpus("skypile", ["memory://nowhere"], tmp_path / "none.jsonl")
