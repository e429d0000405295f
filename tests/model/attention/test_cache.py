"""Keys and values of the tokens seen so far."""

from __future__ import annotations

import pytest
import torch

from helpers.tiny_gpt import tiny_config
from steel_megatron.model.attention.cache import KVCache
from steel_megatron.parallel.grid import Grid


def cache(window: int | None = None, padding: list[int] | None = None) -> KVCache:
    options = {} if window is None else {"layer_types": ("sliding_attention",), "window_size": window}
    padding_B = None if padding is None else torch.tensor(padding)
    config = tiny_config(num_layers=1, **options)
    return KVCache(config, Grid.single(), batch=2, capacity=6, dtype=torch.float32, padding_B=padding_B)


def numbered(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count).float().view(1, -1, 1, 1).expand(2, -1, 2, 8)


def seen(kept: KVCache, steps: list[int]) -> list[list[int]]:
    found = []
    for count in steps:
        keys, values = kept.extend(0, numbered(kept.length, count), -numbered(kept.length, count))
        assert torch.equal(keys, -values)
        found.append(keys[1, :, 1, 7].int().tolist())
        kept.length += count
    return found


def test_all_positions_are_seen_in_order() -> None:
    assert seen(cache(), [3, 1, 2]) == [[0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]


def test_a_window_keeps_what_the_next_token_sees() -> None:
    assert seen(cache(window=3), [3, 1, 1]) == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert seen(cache(window=3), [1, 1, 1, 1]) == [[0], [0, 1], [0, 1, 2], [1, 2, 3]]


def test_more_than_it_has_room_for_is_an_error() -> None:
    full = cache()
    seen(full, [6])
    with pytest.raises(ValueError, match="7 positions in a cache of 6"):
        full.extend(0, numbered(6, 1), numbered(6, 1))


def test_padding_does_not_count() -> None:
    padded = cache(padding=[0, 2])
    assert padded.positions(4).tolist() == [[0, 1, 2, 3], [0, 0, 0, 1]]
    assert padded.padding_of(seen=4, new=4).tolist() == [0, 2]
    assert cache().positions(2).tolist() == [[0, 1]]
    assert cache().padding_of(4, 4) is None
