"""Operations by name: what they refuse, and where their limits lie."""

from __future__ import annotations

import re

import pytest

from steel_megatron._text import Text
from steel_megatron.config import ConfigError
from steel_megatron.corpus.cleaning.operation import Filter, build_operation


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("clean_emails_mapper", {}, "did you mean clean_email_mapper"),
        ("image_blur_mapper", {}, "--engine data-juicer"),
        ("text_length_filter", {"min_length": 3}, "did you mean min_len"),
        ("text_length_filter", {"min_len": "3"}, "of type int"),
        ("text_length_filter", {"min_len": float("nan")}, "of type int"),
        ("words_num_filter", {"tokenization": True}, "words: cjk"),
        ("words_num_filter", {"words": "jieba"}, "spaces or cjk"),
        ("clean_links_mapper", {"pattern": "("}, "regular expression"),
        ("character_repetition_filter", {"rep_len": 0}, "above 0"),
        ("language_id_score_filter", {"lang": "zh"}, "model_path"),
        ("perplexity_filter", {"model_path": "/nowhere/zh.arpa.bin"}, "nothing is downloaded"),
    ],
)
def test_what_cannot_work_is_told(name: str, parameters: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        build_operation(name, parameters)


def test_parameters_of_how_data_juicer_runs_are_taken() -> None:
    build_operation("text_length_filter", {"min_len": 3, "max_len": 1e6, "num_proc": 4, "text_key": "text"})


def test_open_and_turned_limits() -> None:
    def kept(text: str, **parameters: object) -> bool:
        operation = build_operation("text_length_filter", {"min_len": 3, "max_len": 5, **parameters})
        assert isinstance(operation, Filter)
        return not operation.judge(Text(text)).why

    assert kept("abc")
    assert not kept("abc", min_closed_interval=False)
    assert not kept("ab")
    assert [kept("x" * length, reversed_range=True) for length in range(2, 7)] == [True, True, False, True, True]
