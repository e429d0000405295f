"""Lines in, arrays of ids out; what gives no document is a reject, and costs only itself."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.null_tokens import EOD, encode_job, lines_of_texts
from steel_megatron.tokens.tokenise.batch import tokenize_batch
from steel_megatron.tokens.tokenise.lines import LineBatch


def test_ids_lie_one_document_after_the_other():
    done = tokenize_batch(encode_job(), LineBatch(lines_of_texts(["1 2 3", "", "4"])))
    (key,) = done.keys
    assert key.ids_T.tolist() == [1, 2, 3, 4]
    assert key.ids_T.dtype == np.uint16
    assert key.lengths_B.tolist() == [3, 0, 1]
    assert (key.text_bytes, done.lines, done.rejects) == (6, 3, [])


def test_documents_with_a_token_end_with_the_end_id():
    (key,) = tokenize_batch(encode_job(eod=True), LineBatch(lines_of_texts(["1 2", "", "3"]))).keys
    assert key.ids_T.tolist() == [1, 2, EOD, 3, EOD]
    assert key.lengths_B.tolist() == [3, 0, 2]


def test_every_line_is_a_document_a_reject_or_blank():
    data = b'{"text": "1"}\n\nno json\n  \n{"text": 5}\n{"other": "2"}\n{"text": "3"}'
    done = tokenize_batch(encode_job(), LineBatch(data))
    assert done.keys[0].ids_T.tolist() == [1, 3]
    assert [reject.line for reject in done.rejects] == [3, 5, 6]
    assert (done.lines, done.blank_lines) == (7, 2)


def test_a_text_that_cannot_be_encoded_costs_itself_only():
    done = tokenize_batch(encode_job(), LineBatch(lines_of_texts(["1 2", "three", "4"]) + b"{bad\n"))
    assert done.keys[0].ids_T.tolist() == [1, 2, 4]
    assert done.keys[0].lengths_B.tolist() == [2, 1]
    assert done.rejects[0].reason == "not_encodable"
    assert [reject.line for reject in done.rejects] == [2, 4]


def test_a_line_cut_for_its_length_is_the_last_reject():
    done = tokenize_batch(encode_job(), LineBatch(lines_of_texts(["1"]), b'{"text": "1 1 1'))
    assert [(reject.line, reject.reason) for reject in done.rejects] == [(2, "too_long")]
    assert done.lines == 2


@pytest.mark.parametrize("data", [b"", b"\n", b"x\n"])
def test_a_batch_may_have_no_document(data):
    (key,) = tokenize_batch(encode_job(eod=True), LineBatch(data)).keys
    assert (len(key.ids_T), len(key.lengths_B), key.text_bytes) == (0, 0, 0)


def test_keys_are_documents_of_their_own():
    done = tokenize_batch(encode_job(keys=("a", "b")), LineBatch(b'{"b": "3 4", "a": "1"}\n{"a": "2"}\n'))
    assert [key.ids_T.tolist() for key in done.keys] == [[1], [3, 4]]
    assert [reject.line for reject in done.rejects] == [2]
