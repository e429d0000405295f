"""Packages that may be missing."""

from __future__ import annotations

import json

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.jobs.needed import needed


def test_a_package_or_how_to_get_it() -> None:
    assert needed("json", "x") is json
    with pytest.raises(ConfigError, match=r"a\.xyz needs the package not_there(.|\n)*steel-megatron\[corpus\]"):
        needed("not_there.part", "a.xyz")
    with pytest.raises(ConfigError, match="pip install it"):
        needed("not_there", "x", "pip install it")
