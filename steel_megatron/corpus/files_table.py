"""The corpora that are files of text, whoever wrote them: what differs is the kind of file and what a document is."""

from __future__ import annotations

from types import SimpleNamespace

from steel_megatron.corpus.corpus import Corpus, Kind, name_field, text_field


def _files(
    name: str,
    about: str,
    kind: Kind,
    text: str,
    example: dict[str, str],
    template: str = "as it is",
    suffixes: tuple[str, ...] = (),
) -> Corpus:
    """A row of the table; an example with a name is one of whole files, which are documents."""
    return Corpus(
        name=name,
        about=about,
        fields={"text": text, **({"name": "its path below the folder given"} if "name" in example else {})},
        template=template,
        example=example,
        kinds=(kind,),
        text=text_field("text"),
        identity=name_field("name"),
        suffixes=suffixes,
    )


_TABLE = (
    _files(
        "docx",
        "Word documents (.docx), one document each",
        Kind.DOCX,
        "paragraphs, headings and tables of the body",
        {"text": "# 总则\n本办法适用于小区道路。\n项目\t金额", "name": "rules.docx"},
        template="a paragraph a line, # before headings, cells of tables separated by tabs",
    ),
    _files(
        "epub",
        "books as EPUB, one document each",
        Kind.EPUB,
        "the chapters, in the order of the spine",
        {"text": "第一章\n茶起源于西南。", "name": "tea.epub"},
        template="a block a line",
    ),
    _files(
        "pdf",
        "PDF files that hold text, one document each",
        Kind.PDF,
        "the text of all pages, without heads, feet and page numbers",
        {"text": "第一章\n本办法适用于小区道路。", "name": "rules.pdf"},
        template="a paragraph a line: lines, words and sentences that pages break are joined",
    ),
    _files(
        "text",
        "text and Markdown files, one document each",
        Kind.TEXT,
        "the file's content",
        {"text": "# 标题\r\n正文", "name": "one.md"},
        suffixes=(".txt", ".md", ".markdown"),
    ),
    _files(
        "text_blocks",
        "text files, documents separated by blank lines",
        Kind.BLOCKS,
        "the lines between two blank ones",
        {"text": "绿茶\n用八十度的水。"},
        suffixes=(".txt", ".text"),
    ),
    _files(
        "text_lines",
        "text files, a document in each line",
        Kind.LINES,
        "the line",
        {"text": "绿茶用八十度的水。"},
        suffixes=(".txt", ".text"),
    ),
)
FILES = SimpleNamespace(**{corpus.name: corpus for corpus in _TABLE})
