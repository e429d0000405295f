"""A record while it is cleaned: plain stretches of text, and the control marks between them, which nothing changes."""

from __future__ import annotations

from typing import Any

from steel_megatron._text import Text
from steel_megatron.corpus.cleaning.operation import Mapper
from steel_megatron.corpus.corpus import RejectedRecordError, records_within


class Document:
    """The text of a record.

    Args:
        record: the record; ``control`` holds the marks as ``[[start, end], ...]`` in code points.
        text_key: the field that holds the text.

    Raises:
        RejectedRecordError: no text, or marks that do not fit it.
    """

    def __init__(self, record: dict[str, Any], text_key: str) -> None:
        self.record = record
        self.text_key = text_key
        given = record.get(text_key)
        if given is None:
            reason = "missing_field" if text_key not in record else "null_field"
            raise RejectedRecordError(reason, text_key + records_within(record))
        if not isinstance(given, str):
            raise RejectedRecordError("not_a_string", f"{text_key} is {type(given).__name__}{records_within(record)}")
        try:
            given.encode()
        except UnicodeEncodeError:
            raise RejectedRecordError("lone_surrogate", "half a surrogate pair, which no UTF-8 can hold") from None
        self.marks: list[str] = []
        self.stretches: list[Text] = []
        at = 0
        for start, stop in _spans(record.get("control"), len(given)):
            self.stretches.append(Text(given[at:start]))
            self.marks.append(given[start:stop])
            at = stop
        self.stretches.append(Text(given[at:] if at else given))

    def __len__(self) -> int:
        """Code points without the marks."""
        return sum(map(len, self.stretches))

    def apply(self, mapper: Mapper) -> None:
        """Changes each stretch apart. Beside marks, white space at its ends is the template's and stays."""
        if not self.marks:
            mapper.apply(self.stretches[0])
            return
        for stretch in self.stretches:
            whole = str(stretch)
            core = whole.strip()
            if core:
                start = whole.index(core)
                stretch.set(core)
                mapper.apply(stretch)
                stretch.set(whole[:start] + str(stretch) + whole[start + len(core) :])

    def plain(self) -> Text:
        """The text without the marks."""
        if not self.marks:
            return self.stretches[0]
        return Text("".join(map(str, self.stretches)))

    def finish(self) -> dict[str, Any]:
        """The record with the text as it is now, and the marks where they are now.

        Raises:
            RejectedRecordError: nothing but white space is left.
        """
        pieces, spans, at = [str(self.stretches[0])], [], len(self.stretches[0])
        for mark, stretch in zip(self.marks, self.stretches[1:], strict=True):
            spans.append([at, at + len(mark)])
            pieces += [mark, str(stretch)]
            at += len(mark) + len(stretch)
        if not any(piece.strip() for piece in pieces[::2]):
            raise RejectedRecordError("empty", "nothing is left of the text")
        self.record[self.text_key] = "".join(pieces)
        if self.marks:
            self.record["control"] = spans
        return self.record


def _spans(control: Any, length: int) -> list[tuple[int, int]]:
    if control is None:
        return []
    try:
        spans = [(int(start), int(stop)) for start, stop in control]
    except (TypeError, ValueError):
        raise RejectedRecordError("bad_control", "control is no list of [start, end]") from None
    edges = [0, *(edge for span in spans for edge in span), length]
    if edges != sorted(edges) or any(start == stop for start, stop in spans):
        raise RejectedRecordError("bad_control", "control marks overlap, are not ascending, or lie outside the text")
    return spans
