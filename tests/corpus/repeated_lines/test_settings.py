"""What a line is, and settings that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.corpus.repeated_lines import LineSettings


@pytest.mark.parametrize("settings", [{"in_documents": 1}, {"shortest": 0}, {"unit": "page"}])
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(settings.values())))):
        LineSettings(**settings)


def test_lines_and_paragraphs() -> None:
    text = "a\n\n b \n \nc"
    assert LineSettings().cut(text) == ["a", "", " b ", " ", "c"]
    assert LineSettings().join(LineSettings().cut(text)) == text
    paragraphs = LineSettings(unit="paragraph")
    assert paragraphs.join(paragraphs.cut(text)) == "a\n\n b \n\nc"


def test_what_a_line_is_compared_by() -> None:
    settings = LineSettings(shortest=2)
    assert settings.key("\u3000首页 ") == settings.key("首页") == "首页".encode()
    assert [settings.key(line) for line in ("", " \t", "好", "<|im_end|>", "x <|im_start|>user")] == [b""] * 5
    assert settings.key("x\ud800")
