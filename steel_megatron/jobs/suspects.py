"""What files hold whose names say JSON lines and whose contents do not: failed downloads, files never written."""

from __future__ import annotations

import re

EMPTY = "is empty: a download or a copy that never began"
_ZEROS = 512  # as many at the beginning are no text
_MARKS = (
    (rb"version https://git-lfs\.", "is a Git LFS pointer, not the file: git lfs pull fetches it"),
    (rb"\s*<(?:!doctype\s+html|html\b|\?xml\b)", "is a page of HTML or XML, as a server sends where a download fails"),
    (rb"\0{%d}" % _ZEROS, "begins with zeros: it was not written when the machine stopped"),
    (rb"\xff\xfe|\xfe\xff", "is UTF-16: iconv -f UTF-16 -t UTF-8 makes lines of it"),
    (rb"[{\[]\0|\0[{\[]", "is UTF-16 without a mark: iconv -f UTF-16LE (or BE) -t UTF-8 makes lines of it"),
)


def suspicion(head: bytes) -> str:
    """What a file that begins so is instead of JSON lines, for the rest of a sentence; empty where nothing is odd."""
    if not head:
        return EMPTY
    return next((says for pattern, says in _MARKS if re.match(pattern, head, re.IGNORECASE)), "")
