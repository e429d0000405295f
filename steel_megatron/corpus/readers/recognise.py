"""What a file holds, told from its first bytes."""

from __future__ import annotations

import re

from steel_megatron.corpus.corpus import Kind

HEAD_BYTES = 1 << 16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def recognise(head: bytes) -> Kind | None:
    """The kind of a file with this (unpacked) beginning; None for binary content of no known kind.

    Records whose first lines are broken are still JSON lines if any line of ``head`` begins like an object.
    """
    if head.startswith(b"PAR1"):
        return Kind.PARQUET
    if b"\0" in head:
        return None
    content = head.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if re.match(rb"\[\s*(?:[\[{\]]|$)", content):
        return Kind.JSON_ARRAY
    if re.search(rb"^[ \t]*\{", content, re.MULTILINE):
        return Kind.JSON_LINES
    return Kind.TEXT
