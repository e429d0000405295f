"""The tiktoken kind: long texts, settings beside the file, broken files."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.sample_texts import TEXTS, random_texts
from helpers.small_tokenizer import small_tiktoken
from steel_megatron.config import DataError
from steel_megatron.tokenizer import tiktoken as module
from steel_megatron.tokenizer.huggingface import HuggingFaceTokenizer
from steel_megatron.tokenizer.tiktoken import STRETCH, TikTokenizer


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return small_tiktoken(tmp_path_factory.mktemp("small") / "small.tiktoken")


@pytest.fixture(scope="module")
def tokenizer(path):
    return TikTokenizer(path)


def whole(tokenizer: TikTokenizer, text: str) -> list[int]:
    """The ids from the library in one call."""
    return tokenizer._encoding.encode_ordinary(module.nfc(text))


@pytest.mark.parametrize("run", ["a", "哈", " ", "\n", "=", "的我", " x", "e\u0301", "1", "“", "a'"])
def test_a_long_run_without_a_break_is_exact(tokenizer, run):
    text = (run * 120_000)[:120_000] + "x。"
    assert tokenizer.encode(text) == whole(tokenizer, text)


def test_a_long_text_is_exact(tokenizer):
    generator = random.Random(1)
    parts = [*TEXTS.values(), *random_texts(50, seed=2), "x" * 9000, "字" * 9000, " " * 9000]
    text = "".join(generator.choices(parts, k=800))
    assert len(text) > 20 * STRETCH
    assert tokenizer.encode(text) == whole(tokenizer, text)


@given(st.text("ab1Z 中文，。.'\n\t(\u0301é", max_size=300))
def test_cutting_anywhere_allowed_is_exact(tokenizer, text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STRETCH", 3)
        stretches = list(tokenizer._stretches(text))
        assert tokenizer.encode(text) == whole(tokenizer, text)
    assert "".join(stretches) == module.nfc(text)


def test_plain_python_gives_the_same_ids(path, tokenizer):
    python = TikTokenizer(path, use_tiktoken=False)
    for text in [*TEXTS.values(), *random_texts(30)]:
        assert python.encode(text) == tokenizer.encode(text)


def test_plain_python_is_taken_where_tiktoken_is_absent(path):
    # A fresh interpreter in which tiktoken cannot be imported.
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['tiktoken'] = None\n"
        "from steel_megatron.tokenizer import build_tokenizer\n"
        f"print(build_tokenizer(None, {str(path)!r}).encode('你好, world'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == TikTokenizer(path).encode("你好, world")


def test_batches_are_flat_arrays(tokenizer):
    texts = ["你好", "", "hello world"]
    batch = tokenizer.encode_batch(texts)
    assert (batch.ids_T.dtype, batch.lengths_B.dtype) == ("int32", "int64")
    assert batch.lengths_B.tolist() == [len(tokenizer.encode(text)) for text in texts]
    assert batch.ids_T.tolist() == [id_ for text in texts for id_ in tokenizer.encode(text)]
    assert len(tokenizer.encode_batch([]).ids_T) == 0


def test_settings_beside_the_file(path, tmp_path):
    copy = tmp_path / "other.tiktoken"
    copy.write_bytes(path.read_bytes())
    settings = {"pattern": r"\p{L}+|\P{L}", "normalization": None, "special_tokens": ["<eod>"]}
    (tmp_path / "other.tiktoken.json").write_text(json.dumps(settings))
    tokenizer = TikTokenizer(copy)
    assert tokenizer.special_tokens == {"<eod>": 597}
    assert tokenizer.eod_id is None
    assert tokenizer.decode(tokenizer.encode("e\u0301")) == "e\u0301"
    assert tokenizer.fingerprint != TikTokenizer(path).fingerprint
    # The Hugging Face form follows the settings too.
    tokenizer.save_pretrained(tmp_path / "hf")
    hf = HuggingFaceTokenizer(tmp_path / "hf")
    for text in TEXTS.values():
        assert hf.encode(text) == tokenizer.encode(text)
    assert hf.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"patern": "x"}', "did you mean pattern"),
        ('{"normalization": "NFKC"}', "NFKC"),
        ("{", "is a JSON object"),
        ("[1]", "is a JSON object"),
    ],
)
def test_wrong_settings_are_named(path, tmp_path, content, message):
    copy = tmp_path / "other.tiktoken"
    copy.write_bytes(path.read_bytes())
    (tmp_path / "other.tiktoken.json").write_text(content)
    with pytest.raises(DataError, match=message):
        TikTokenizer(copy)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no tokenizer file .*none\.tiktoken"):
        TikTokenizer(tmp_path / "none.tiktoken")
