"""Lines read together: every line once, in order, whatever the pieces."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.tokens.tokenise.lines import line_batches


@given(st.lists(st.binary(max_size=60), max_size=40), st.integers(1, 200))
def test_batches_hold_every_line_once(pieces, batch_bytes):
    content = b"".join(pieces)
    batches = list(line_batches(pieces, batch_bytes))
    assert b"".join(batch.data for batch in batches) in (content, content.removeprefix(b"\xef\xbb\xbf"))
    assert all(batch.data.endswith(b"\n") for batch in batches[:-1])
    assert all(batch.data and not batch.cut_line for batch in batches)


def test_a_byte_order_mark_is_no_part_of_the_first_line():
    (batch,) = line_batches([b"\xef\xbb\xbf{}\n", b"\xef\xbb\xbf{}\n"])
    assert batch.data == b"{}\n\xef\xbb\xbf{}\n"


def test_memory_does_not_grow_with_the_content():
    tracemalloc.start()
    for _ in line_batches((b"x" * 99 + b"\n") * 2000 for _ in range(200)):  # 40 MB
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


def test_a_line_longer_than_a_batch_is_one_batch():
    content = b"a\n" + b"b" * 300_000 + b"\nc\n"
    pieces = [content[at : at + 1000] for at in range(0, len(content), 1000)]
    batches = [batch.data for batch in line_batches(pieces, 500)]
    assert b"".join(batches) == content
    assert max(map(len, batches)) > 300_000


@pytest.mark.parametrize("last", [b"\n", b"\ntail\n", b""])
@pytest.mark.parametrize("before", [b"one\ntwo\n", b"\n", b""])
def test_a_line_above_the_limit_is_cut(before, last):
    long = b"y" * 700_000
    content = before + long + last
    pieces = [content[at : at + 999] for at in range(0, len(content), 999)]
    found = list(line_batches(pieces, 1000, line_limit=50_000))
    assert b"".join(batch.data for batch in found) == before + last[1:]
    assert [batch.cut_line for batch in found if batch.cut_line] == [long[:8000]]
