"""What the compiled module sees of a text is what this reference sees; every way to give a text gives the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron._classify import Linear, Settings, features, score_lines, score_texts

LETTERS = "azAZ09éÉßЖж０９Ａｚ𝒂한글"
IDEOGRAPHS = "中文国國あアー𠀀"
SIGNS = ".,!-，。：（）「」🙂"
SPACES, LINE_ENDS, INVISIBLE = " \t\u3000\u00a0", "\n\r\u2028\u0085", "\u200b\ufeff\u0000\u00ad"
TEXTS = st.text(st.sampled_from(LETTERS + IDEOGRAPHS + SIGNS + SPACES + LINE_ENDS + INVISIBLE), max_size=60)
MASK = 0xFFFFFFFF


def folded(character: str) -> str:
    code = ord(character)
    if 0xFF01 <= code <= 0xFF5E:
        character = chr(code - 0xFEE0)
    if character in "ÉЖ" or "A" <= character <= "Z":
        character = character.lower()
    return "0" if character in "0123456789" else character


def normalised(text: str) -> list[tuple[str, str]]:
    """Characters and their kinds: letter, ideograph, line, or other."""
    found, space = [("\n", "line")], ""
    for character in [*text, "\n"]:
        if character in INVISIBLE:
            continue
        if character in SPACES + LINE_ENDS:
            space = "\n" if character in LINE_ENDS or space == "\n" else " "
            continue
        if space and found[-1][0] != "\n":
            found.append((space, "line" if space == "\n" else "other"))
        space = ""
        kind = "letter" if character in LETTERS else "ideograph" if character in IDEOGRAPHS else "other"
        found.append((folded(character), kind))
    return found if found[-1][0] == "\n" else [*found, ("\n", "line")]


def number(value: int, bits: int) -> int:
    return ((value ^ value >> 15) * 0xC2B2AE3D & MASK) >> (32 - bits)


def reference(text: str, bits: int, order: int, words: bool, characters: int) -> list[int]:
    numbers, past = [], ""
    none = word = 0x27D4EB2F
    before = 0
    for character, kind in normalised(text[:characters]):
        past += character
        for n in range(1, order + 1):
            value = 0x85EBCA6B
            for each in past[-n:]:
                value = (value * 0x9E3779B1 + ord(each)) & MASK
            numbers.append(number(value, bits))
        if not words:
            continue
        if kind == "letter":
            word = (word ^ ord(character)) * 0x01000193 & MASK
            continue
        if word != none:
            numbers.append(number(word, bits))
            if before:
                numbers.append(number(((before ^ 0x165667B1) * 0x9E3779B1 + word) & MASK, bits))
            before, word = word, none
        if kind in ("ideograph", "line"):
            before = 0
    return numbers


@given(
    TEXTS,
    st.integers(1, 24),
    st.integers(1, 4),
    st.booleans(),
    st.integers(1, 70),
)
def test_features_are_those_of_the_reference(text: str, bits: int, order: int, words: bool, characters: int) -> None:
    found = features(text, Settings(bits, order, words, characters))
    assert found.tolist() == reference(text, bits, order, words, characters)


def test_a_text_without_words_has_its_n_grams_and_an_empty_one_its_ends() -> None:
    assert len(features("", Settings(20, 4, True, 100))) == 4  # of the line feed that stands for both ends
    assert len(features("中文", Settings(20, 2, True, 100))) == 2 * 4
    assert len(features("two words", Settings(20, 1, True, 100))) == 11 + 3  # and two words, and their pair


def model(bits: int, columns: int, characters: int = 50) -> Linear:
    weights = np.random.default_rng(columns).integers(-32768, 32768, ((1 << bits), columns), np.int16)
    return Linear(Settings(bits, 4, True, characters), weights, 1e-4, [0.5 * column for column in range(columns)])


def test_logits_are_bias_and_scaled_mean_of_weights() -> None:
    weights = np.arange(3 << 10, dtype=np.int16).reshape(-1, 3)
    settings = Settings(10, 3, True, 1000)
    text = "Mean of weights. 权重的平均值"
    (found,) = score_texts([Linear(settings, weights, 0.25, [1.0, 2.0, 3.0])], [text])
    wanted = weights[features(text, settings)].astype(np.int64).sum(axis=0) / len(features(text, settings))
    np.testing.assert_allclose(found, [1.0, 2.0, 3.0] + 0.25 * wanted, rtol=1e-15)


def test_sums_of_long_texts_do_not_wrap() -> None:
    weights = np.full((1 << 8, 2), 32767, np.int16)
    (found,) = score_texts([Linear(Settings(8, 4, True, 10**6), weights, 1.0, [0.0, 0.0])], ["字" * 300_000])
    assert found.tolist() == [32767.0, 32767.0]


@given(st.lists(TEXTS, max_size=6), st.booleans())
def test_lines_score_as_their_texts(texts: list[str], ascii_only: bool) -> None:
    """Escaped or not, with models of several limits in one pass."""
    models = [model(8, 1), model(10, 3, 7), model(12, 1, 7)]
    block = "\n".join(json.dumps({"a": 1, "text": text}, ensure_ascii=ascii_only) for text in texts).encode()
    scores, lines = score_lines(models, block, "text")
    assert np.array_equal(scores, score_texts(models, texts))
    assert [json.loads(block[start:stop])["text"] for start, stop, _ in lines.tolist()] == texts
    assert all(lines[:, 2] == 1)


@pytest.mark.parametrize(
    "line",
    [
        b"{bad",
        b'{"text": 1}',
        b'{"other": "x"}',
        b'{"text": "\xff"}',
        b'{"text": "\\ud800"}',
        b'\xef\xbb\xbf{"text": "x"}',
    ],
)
def test_a_line_that_needs_a_closer_look_is_marked(line: bytes) -> None:
    scores, lines = score_lines([model(8, 2)], b'{"text": "good"}\n  \n' + line, "text")
    assert lines.tolist() == [[0, 16, 1], [20, 20 + len(line), 0]]
    assert scores[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("values", [(0, 4, 1), (25, 4, 1), (8, 0, 1), (8, 5, 1), (8, 4, 0)])
def test_settings_are_checked(values: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="bits are 1 to 24"):
        Settings(values[0], values[1], True, values[2])


def test_weights_must_fit_their_settings() -> None:
    with pytest.raises(ValueError, match="weights do not fit"):
        Linear(Settings(8, 4, True, 9), np.zeros((255, 1), np.int16), 1.0, [0.0])
