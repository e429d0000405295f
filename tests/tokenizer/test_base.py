"""What tokenizers share: a batch is the ids of each text, one behind the other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.tokenizer.base import flat_batch
from steel_megatron.tokenizer.null import NullTokenizer


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), max_size=6))
def test_flat_batch(ids: list[list[int]]) -> None:
    batch = flat_batch(ids)
    assert (batch.ids_T.dtype, batch.lengths_B.dtype) == (np.int32, np.int64)
    assert batch.lengths_B.tolist() == [len(each) for each in ids]
    ends = np.cumsum(batch.lengths_B)[:-1]
    split = np.split(batch.ids_T, ends) if ids else []
    assert [part.tolist() for part in split] == ids


def test_a_batch_is_each_text_encoded() -> None:
    batch = NullTokenizer(100).encode_batch(["1 2", "", "99"])
    assert (batch.ids_T.tolist(), batch.lengths_B.tolist()) == ([1, 2, 99], [2, 0, 1])
