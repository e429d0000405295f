"""The records of a stream of bytes whose kind is known, or of the members of an archive, whose kinds are told here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from steel_megatron.corpus.corpus import ARCHIVES, Kind, RejectedRecordError
from steel_megatron.corpus.readers.archive import Member, tar_members, zip_files, zip_members
from steel_megatron.corpus.readers.arrow import read_arrow
from steel_megatron.corpus.readers.csv_rows import read_csv
from steel_megatron.corpus.readers.docx import read_docx
from steel_megatron.corpus.readers.epub import read_epub
from steel_megatron.corpus.readers.html import read_html
from steel_megatron.corpus.readers.json_array import read_json_array
from steel_megatron.corpus.readers.json_lines import read_json_lines
from steel_megatron.corpus.readers.parquet import read_parquet
from steel_megatron.corpus.readers.pdf import read_pdf
from steel_megatron.corpus.readers.plain_text import read_text
from steel_megatron.corpus.readers.recognise import HEAD_BYTES, recognise, settle
from steel_megatron.corpus.readers.row import Row
from steel_megatron.corpus.readers.texts import read_texts
from steel_megatron.corpus.readers.warc import read_warc
from steel_megatron.corpus.readers.workbook import read_workbook
from steel_megatron.jobs.files import spooled, with_head

_IN_ORDER: Mapping[Kind, Callable[[Iterator[bytes], str], Iterator[Row]]] = {
    Kind.TEXT: read_text,
    Kind.HTML: read_html,
    Kind.ARROW: read_arrow,
    Kind.WARC: read_warc,
}
_AT_ANY_PLACE: Mapping[Kind, Callable[[IO[bytes], str], Iterator[Row]]] = {
    Kind.PARQUET: lambda file, name: read_parquet(file, name=name),
    Kind.WORKBOOK: read_workbook,
    Kind.PDF: read_pdf,
    Kind.DOCX: read_docx,
    Kind.EPUB: read_epub,
}


def read_stream(content: Iterator[bytes], kind: Kind, name: str, first: int = 1) -> Iterator[Row]:
    """The records of a file that is no archive.

    Kinds that are read at several places at once (parquet, xlsx, PDF …) go to a temporary file first.

    Args:
        first: number of the first line, of JSON lines and of texts a line each.
    """
    if kind is Kind.JSON_LINES:
        yield from read_json_lines(content, first)
    elif kind in (Kind.JSON_ARRAY, Kind.JSON_OBJECTS):
        yield from read_json_array(content, brackets=kind is Kind.JSON_ARRAY)
    elif kind is Kind.CSV:
        yield from read_csv(content)
    elif kind in (Kind.LINES, Kind.BLOCKS):
        yield from read_texts(content, first, blocks=kind is Kind.BLOCKS)
    elif kind in _IN_ORDER:
        yield from _IN_ORDER[kind](content, name)
    else:
        with spooled(content) as file:
            yield from _AT_ANY_PLACE[kind](file, name)


def read_members(
    members: Iterator[Member],
    archive: str,
    kinds: Sequence[Kind],
    wanted: Callable[[str], bool],
    pass_over: Callable[[str], Any],
) -> Iterator[Row]:
    """The records of an archive's files, archives within it included.

    Args:
        archive: its name in ids.
        kinds: those that the corpus takes.
        wanted: whether a member of this name may hold records.
        pass_over: called with the names of members that hold none of these kinds.
    """
    for member in members:
        name = f"{archive}/{member.name}"
        if not wanted(member.name):
            pass_over(name)
            continue
        if member.encrypted:
            error = RejectedRecordError("encrypted", "the archive's member wants a password")
            yield Row(1, None, error=error, head=name.encode("utf-8", "backslashreplace"), member=member.name)
            continue
        for row in _member_rows(member, name, kinds, wanted, pass_over):
            yield row._replace(member=f"{member.name}/{row.member}" if row.member else member.name)


def _member_rows(
    member: Member,
    name: str,
    kinds: Sequence[Kind],
    wanted: Callable[[str], bool],
    pass_over: Callable[[str], Any],
) -> Iterator[Row]:
    head, whole = with_head(member.content, HEAD_BYTES)
    if not head.startswith(b"PK\x03\x04"):
        kind = kind_as_taken(recognise(head), head, name, kinds)
        if kind is None:
            pass_over(name)
        elif kind is Kind.TAR:
            yield from read_members(tar_members(whole(), name), name, kinds, wanted, pass_over)
        else:
            yield from read_stream(whole(), kind, name)
        return
    with spooled(whole()) as file:
        found = recognise(head, lambda: [info.filename for info in zip_files(file, name)], name)
        kind = kind_as_taken(found, head, name, kinds)
        if kind is Kind.ZIP:
            yield from read_members(zip_members(file, name), name, kinds, wanted, pass_over)
        elif kind is not None and kind in _AT_ANY_PLACE:
            yield from _AT_ANY_PLACE[kind](file, name)
        else:
            pass_over(name)


def kind_as_taken(kind: Kind | None, head: bytes, name: str, kinds: Sequence[Kind]) -> Kind | None:
    """:func:`settle`, with archives taken always and a file of white space as the first kind."""
    if not head.strip():
        return kinds[0]
    return kind if kind in ARCHIVES else settle(kind, head, name, kinds)
