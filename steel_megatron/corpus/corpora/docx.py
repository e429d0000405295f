"""Word documents: each file is one document."""

from __future__ import annotations

from steel_megatron.corpus.corpus import Corpus, Kind, name_field, text_field

CORPUS = Corpus(
    name="docx",
    about="Word documents (.docx), one document each",
    fields={"text": "paragraphs, headings and tables of the body", "name": "its path below the folder given"},
    template="a paragraph a line, # before headings, cells of tables separated by tabs",
    example={"text": "# 总则\n本办法适用于小区道路。\n项目\t金额", "name": "rules.docx"},
    kinds=(Kind.DOCX,),
    text=text_field("text"),
    identity=name_field("name"),
)
