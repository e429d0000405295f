"""K, M and G mean the same in every command."""

from __future__ import annotations

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.jobs.sizes import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("123", 123),
        ("7b", 7),
        ("1.5k", 1500),
        ("500mb", 5 * 10**8),
        ("4G", 4 * 10**9),
        ("5GB", 5 * 10**9),
        ("1.5 GiB", 3 * 2**29),
        ("2Ki", 2048),
        (" .5T ", 5 * 10**11),
        ("1e9", 10**9),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "G", "x", "1X", "-5GB", "5 apples", "0", "0.1", "nan", "1e999", "5ib"])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="--memory ") as caught:
        parse_size(text, "--memory")
    assert "powers of 1,000" in str(caught.value)
