"""The data section's own rules."""

from __future__ import annotations

from typing import Any

import pytest

from steel_megatron.config import ConfigError, DataConfig


@pytest.mark.parametrize(
    ("knobs", "given"),
    [
        ({"data_path": ("a",), "train_data_path": ("b",)}, "--data-path beside --train-data-path"),
        ({"data_path": ("a",), "valid_data_path": ("b",)}, "--data-path beside"),
        ({"skip_samples": ("5:5",)}, "--skip-samples 5:5"),
        ({"prefetch": 0}, "--prefetch 0"),
        ({"packing": "worst-fit"}, "--packing is 'worst-fit'"),
    ],
)
def test_what_contradicts_itself_is_refused(knobs: dict[str, Any], given: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DataConfig(**knobs).check()
    assert given in caught.value.given
    assert caught.value.rule


def test_data_given_apart_is_taken() -> None:
    DataConfig(train_data_path=("a",), valid_data_path=("b",), skip_samples=("5:6",), num_workers=0).check()
