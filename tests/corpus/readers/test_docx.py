"""Word documents: headings by their styles, tables by rows, nothing twice."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from helpers.corpus_files import read_json_lines
from helpers.document_files import docx_bytes, zip_bytes
from steel_megatron.config import DataError
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.readers.docx import read_docx
from steel_megatron.corpus.readers.recognise import recognise


def paragraph(text: str, style: str = "", inside: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/>{inside}</w:pPr>' if style or inside else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def text_of(data: bytes) -> str:
    (row,) = read_docx(io.BytesIO(data), "a.docx")
    assert row.error is None, row.error
    return row.value["text"]


# Chinese Word names its styles 1, 2, a3; what they are stands in styles.xml.
STYLES = (
    '<w:style w:type="paragraph" w:styleId="1"><w:name w:val="heading 1"/></w:style>'
    '<w:style w:styleId="a3"><w:name w:val="小节"/><w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>'
    '<w:style w:type="paragraph" w:styleId="a4"><w:name w:val="正文缩进"/></w:style>'
)


@pytest.mark.parametrize("space", ["transitional", "strict"])
def test_headings_are_told_by_what_their_styles_are(space: str) -> None:
    spaces = {} if space == "transitional" else {"space": "http://purl.oclc.org/ooxml/wordprocessingml/main"}
    body = paragraph("总则", "1") + paragraph("范围", "a3") + paragraph("本办法适用于小区。", "a4") + paragraph(" ")
    body += paragraph("附则", inside='<w:outlineLvl w:val="0"/>') + paragraph("完")
    assert text_of(docx_bytes(body, STYLES, **spaces)) == "# 总则\n## 范围\n本办法适用于小区。\n# 附则\n完"


def test_a_row_of_a_table_is_a_line() -> None:
    def cell(*paragraphs: str) -> str:
        return f"<w:tc>{''.join(map(paragraph, paragraphs))}</w:tc>"

    inner = f"<w:tc><w:tbl><w:tr>{cell('内')}</w:tr></w:tbl></w:tc>"
    rows = [cell("项目") + cell("金额"), cell("茶", "绿茶") + cell(""), cell("") + cell(""), cell("盒") + inner]
    table = "".join(f"<w:tr>{row}</w:tr>" for row in rows)
    text = text_of(docx_bytes(paragraph("前") + f"<w:tbl>{table}</w:tbl>" + paragraph("后")))
    assert text.split("\n")[:3] == ["前", "项目\t金额", "茶 绿茶\t"]
    assert text.split("\n")[3].split("\t") == ["盒", "内"]
    assert text.endswith("\n后")


def test_revisions_fields_and_old_readers_copies_leave_no_text() -> None:
    run = "<w:r><w:t>{}</w:t></w:r>"
    body = (
        f"<w:p>{run.format('甲')}<w:del><w:r><w:delText>删</w:delText><w:t>删</w:t></w:r></w:del>"
        f"<w:ins>{run.format('乙')}</w:ins><w:r><w:instrText>PAGE</w:instrText></w:r>"
        f"<w:hyperlink>{run.format('丙')}</w:hyperlink><w:r><w:tab/><w:t>丁</w:t><w:br/><w:t>戊</w:t></w:r>"
        f"<w:r><mc:AlternateContent><mc:Choice><w:txbxContent>{paragraph('框')}</w:txbxContent></mc:Choice>"
        f"<mc:Fallback><w:txbxContent>{paragraph('框')}</w:txbxContent></mc:Fallback></mc:AlternateContent></w:r></w:p>"
        f"<w:sdt><w:sdtContent>{paragraph('目录外')}</w:sdtContent></w:sdt>"
    )
    assert text_of(docx_bytes(body)) == "甲乙丙\t丁\n戊\n框\n目录外"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zip",
        docx_bytes(paragraph("x"))[:-30],
        zip_bytes({"word/document.xml": "<not closed"}),
        zip_bytes({"a": "b"}),
        zip_bytes({"word/document.xml": "<x/>"}),
    ],
    ids=["nothing", "no zip", "cut", "no xml", "no document", "no body"],
)
def test_a_damaged_document_costs_itself(data: bytes) -> None:
    (row,) = read_docx(io.BytesIO(data), "坏.docx")
    assert row.error is not None
    assert row.error.reason == "bad_docx"
    assert row.head == "坏.docx".encode()


def test_documents_come_from_folders_and_archives(tmp_path: Path) -> None:
    data = docx_bytes(paragraph("小区道路限速。"))
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "rules.docx").write_bytes(data)
    (raw / "more.zip").write_bytes(zip_bytes({"in/two.docx": data, "note.bin": b"\0\1\2"}))
    for corpus in ("docx", "contributed"):
        convert_corpus(corpus, [raw], tmp_path / f"{corpus}.jsonl")
        documents = read_json_lines(tmp_path / f"{corpus}.jsonl")
        assert [document["id"] for document in documents] == ["more.zip/in/two.docx", "rules.docx"]
        assert {document["text"] for document in documents} == {"小区道路限速。"}


def test_one_damaged_document_of_a_folder_costs_itself(tmp_path: Path) -> None:
    data = docx_bytes(paragraph("小区道路限速。"))
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, content in {
        "a.docx": data[:-50],
        "b.docx": data,
        "c.docx": b"",
        "~$b.docx": b"\5user" + bytes(99),
    }.items():
        (raw / name).write_bytes(content)
    (raw / "d.zip").write_bytes(zip_bytes({"in/a.docx": data[:-50], "in/b.docx": data, "in/c.epub": data[:-50]}))
    done = convert_corpus("docx", [raw], tmp_path / "out.jsonl")
    assert (done.manifest.documents, done.manifest.rejects) == (2, {"bad_docx": 3})
    assert set(done.manifest.passed_over) == {"~$b.docx", "d.zip/in/c.epub"}
    (tmp_path / "b.zip").write_bytes(data[:-50])
    with pytest.raises(DataError, match="the archive is damaged or cut"):
        convert_corpus("docx", [tmp_path / "b.zip"], tmp_path / "b.jsonl")


def test_a_presentation_is_none() -> None:
    assert recognise(b"PK\x03\x04", lambda: ["[Content_Types].xml", "ppt/presentation.xml"]) is None
