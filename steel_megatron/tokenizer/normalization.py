"""Unicode's NFC by the tables of ``tokenizers``: the same on every Python version, and as in Hugging Face's files."""

from __future__ import annotations

import re

from tokenizers import normalizers

# Any character outside these ranges may be changed by NFC, or change a neighbour. They hold Latin, Chinese, Japanese
# kana and the usual punctuation, so that most texts need not pass through the (slow) normaliser.
_MAY_CHANGE = re.compile(
    "[^\u0000-\u02ff\u2010-\u2027\u2030-\u205e\u3000-\u3029\u3041-\u3096\u30a1-\u30fe\u4e00-\u9fff\uff01-\uff60]"
)
_NFC = normalizers.NFC()


def nfc(text: str) -> str:
    """The text in Unicode normal form C."""
    return _NFC.normalize_str(text) if _MAY_CHANGE.search(text) else text
