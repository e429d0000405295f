"""One manifest of several: counts are summed, and what cannot be one is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steel_megatron.config import DataError
from steel_megatron.jobs.hashes import FileRecord
from steel_megatron.tokens.manifest import Manifest, TokenizerRecord
from steel_megatron.tokens.merge.manifests import check_same, join_manifests

ONE = Manifest(
    key="text",
    append_eod=True,
    tokenizer=TokenizerRecord("NullTokenizer", "f", 10, 9),
    dtype="uint16",
    inputs=(FileRecord("a", 1, "h"),),
    documents=2,
    tokens=5,
    largest_id=9,
    text_bytes=8,
    blank_lines=1,
    rejects={"bad_json": 1, "empty": 2},
    outputs={},
)


def test_sums_maxima_and_order() -> None:
    other = replace(
        ONE, key="title", inputs=(FileRecord("b", 2, "i"),), largest_id=3, rejects={"empty": 1, "a": 1},
        tokenizer=replace(ONE.tokenizer, vocab_size=12),
    )  # fmt: skip
    joined = join_manifests([ONE, other, ONE], {"bin": FileRecord("all.bin", 30, "j")})
    assert (joined.documents, joined.tokens, joined.text_bytes, joined.blank_lines) == (6, 15, 24, 3)
    assert (joined.largest_id, joined.tokenizer.vocab_size, joined.key) == (9, 12, "text,title")
    assert list(joined.rejects.items()) == [("a", 1), ("bad_json", 2), ("empty", 5)]
    assert [record.path for record in joined.inputs] == ["a", "b", "a"]
    assert joined.outputs["bin"].bytes == 30


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (replace(ONE, tokenizer=replace(ONE.tokenizer, fingerprint="g")), "have one tokenizer"),
        (replace(ONE, append_eod=False), "without an end-of-document id"),
        (replace(ONE, tokenizer=replace(ONE.tokenizer, eod_id=8)), "those of second with id 8"),
    ],
)
def test_what_cannot_be_one(other: Manifest, says: str) -> None:
    with pytest.raises(DataError, match=says):
        check_same("first", ONE, "second", other)


def test_ends_do_not_count_where_none_is_appended() -> None:
    one = replace(ONE, append_eod=False)
    check_same("first", one, "second", replace(one, tokenizer=replace(ONE.tokenizer, eod_id=None)))
