"""Filters: what they measure."""

from __future__ import annotations

from steel_megatron._text import Text
from steel_megatron.corpus.cleaning.operation import Filter, build_operation


def measured(name: str, text: str, **parameters: object) -> float:
    operation = build_operation(name, parameters)
    assert isinstance(operation, Filter)
    return operation.judge(Text(text)).value


def test_words_of_chinese_are_characters() -> None:
    text = "今天天气好，we go out。"
    assert measured("words_num_filter", text) == 3
    assert measured("words_num_filter", text, words="cjk") == 8
    assert measured("word_repetition_filter", "天气好" * 8, words="cjk", rep_len=3) == 1.0
    assert measured("word_repetition_filter", "天气好" * 8, rep_len=3) == 0.0


def test_repeated_characters_are_counted_exactly() -> None:
    grams = ["ab", "bc", "ca"]
    text = "abc" * 4
    counts = sorted((sum(text[i : i + 2] == gram for i in range(len(text) - 1)) for gram in grams), reverse=True)
    assert measured("character_repetition_filter", text, rep_len=2) == counts[0] / sum(counts)  # sqrt(3) rounds to 1
