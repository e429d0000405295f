from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.corpus import RejectedRecordError
from steel_megatron.corpus.normalize import normalize

MESSY = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\r\n\t\0\x0b\x0c\x85\x1b\ufeffe\u0301"))
)


@given(MESSY)
def test_twice_is_once_and_nothing_stray_is_left(text: str) -> None:
    clean = normalize("x" + text)
    assert normalize(clean) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]", clean) is None


@given(MESSY)
def test_all_other_characters_stay(text: str) -> None:
    def rest(part: str) -> str:
        return re.sub("[\x00-\x1f\x7f-\x9f\ufeff]", "", unicodedata.normalize("NFC", part))

    kept = re.sub("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff]", "", text)
    try:
        assert rest(normalize(text)) == rest(kept)
    except RejectedRecordError:
        assert not kept.strip()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("全角，标点：！？（留下）１２３", "全角，标点：！？（留下）１２３"),
        ("a\r\nb\rc\n", "a\nb\nc\n"),
        ("a\r\0\nb", "a\nb"),
        ("\ufeffx\ufeffy", "xy"),
        ("e\u0301", "é"),
        ("\tif x:\n\t\ty  \n", "\tif x:\n\t\ty  \n"),
        ("end of page\x0cnext", "end of page\nnext"),
        ("bell\x07 escape\x1b", "bell escape"),
        ("  spaces stay  ", "  spaces stay  "),
    ],
)
def test_examples(text: str, clean: str) -> None:
    assert normalize(text) == clean


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "empty"), (" \r\n\t\u3000", "empty"), ("\ufeff\0", "empty"), ("a\ud800b", "lone_surrogate")],
)
def test_what_is_no_text(text: str, reason: str) -> None:
    with pytest.raises(RejectedRecordError) as caught:
        normalize(text)
    assert caught.value.reason == reason
