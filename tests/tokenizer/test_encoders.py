"""Encoders are taken only when their ids are the tokenizer's."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from helpers.qwen import qwen_vocabulary
from helpers.sample_texts import TEXTS, random_texts
from helpers.small_tokenizer import small_tiktoken, small_tokenizer
from steel_megatron.config import ConfigError
from steel_megatron.tokenizer import EncodedBatch, build_tokenizer, encoders
from steel_megatron.tokenizer.encoders import choose_encoder
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.tokenizer.probe_texts import probe_texts

TEXT = [*TEXTS.values(), *random_texts(200)]


@pytest.fixture(params=["huggingface", "tiktoken"])
def tokenizer(request, tmp_path):
    if request.param == "huggingface":
        return build_tokenizer(None, small_tokenizer(tmp_path / "t"))
    return build_tokenizer(None, small_tiktoken(tmp_path / "small.tiktoken"))


@pytest.mark.parametrize("choice", ["auto", "steel", "fastokens", "tiktoken", "tokenizers"])
def test_every_encoder_gives_the_same_ids(tmp_path, tokenizer, choice):
    if choice == "fastokens":
        pytest.importorskip("fastokens")
    chosen = choose_encoder(tokenizer, choice, TEXT, tmp_path)
    assert chosen.record["name"] == choice or choice == "auto"
    found = pickle.loads(pickle.dumps(chosen.encoder)).encode_batch(TEXT)
    expected = tokenizer.encode_batch(TEXT)
    assert np.array_equal(found.ids_T, expected.ids_T)
    assert np.array_equal(found.lengths_B, expected.lengths_B)


class Wrong:
    """Gives other ids for one text."""

    def __init__(self, tokenizer, text):
        self.tokenizer, self.text = tokenizer, text

    def encode_batch(self, texts):
        ids, lengths = self.tokenizer.encode_batch(texts)
        ids = ids.copy()
        for i, text in enumerate(texts):
            if text == self.text:
                ids[lengths[: i + 1].sum() - 1] ^= 1
        return EncodedBatch(ids, lengths)


class Failing:
    def encode_batch(self, texts):
        raise BaseException("panicked")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda tokenizer, folder: Wrong(tokenizer, "a text of the run"), "gives other ids for 'a text of the run'"),
        (lambda tokenizer, folder: Wrong(tokenizer, probe_texts()[300]), "gives other ids for"),
        (lambda tokenizer, folder: Failing(), "it fails: panicked"),
    ],
)
def test_a_wrong_encoder_is_passed_over(tmp_path, tokenizer, monkeypatch, caplog, make, reason):
    monkeypatch.setitem(encoders._MAKERS, "steel", make)
    monkeypatch.setitem(encoders._MAKERS, "fastokens", make)
    sample = ["one", "a text of the run", "three"]
    chosen = choose_encoder(tokenizer, "auto", sample, tmp_path)
    assert chosen.record["name"] == "tiktoken"
    assert reason in chosen.record["passed_over"]["steel"]
    assert f"the encoder steel is passed over: {chosen.record['passed_over']['steel']}" in caplog.text
    with pytest.raises(ConfigError, match=r"--encoder fastokens: it (gives|fails)"):
        choose_encoder(tokenizer, "fastokens", sample, tmp_path)


def test_an_encoder_that_is_not_installed_is_passed_over(tmp_path, tokenizer):
    script = (
        "import importlib.metadata as m, sys; from pathlib import Path; old = m.version\n"
        "def version(name):\n"
        "    if name == 'fastokens': raise m.PackageNotFoundError(name)\n"
        "    return old(name)\n"
        "m.version = version\n"
        "from steel_megatron.tokenizer import build_tokenizer\n"
        "from steel_megatron.tokenizer.encoders import _MAKERS, _make_fastokens, choose_encoder\n"
        "_MAKERS['steel'] = _make_fastokens\n"
        "print(choose_encoder(build_tokenizer(None, sys.argv[1]), 'auto', ['x'], Path(sys.argv[2])).record)"
    )
    model = next(path for path in (tmp_path / "t", tmp_path / "small.tiktoken") if path.exists())
    done = subprocess.run(
        [sys.executable, "-c", script, str(model), str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert "'name': 'tiktoken'" in done.stdout
    assert "pip install fastokens" in done.stdout


def test_other_kinds_encode_themselves(tmp_path):
    chosen = choose_encoder(NullTokenizer(10), "auto", ["1 2"], tmp_path)
    assert chosen.record["name"] == "NullTokenizer"
    assert chosen.encoder.encode_batch(["1 2"]).ids_T.tolist() == [1, 2]
    with pytest.raises(ConfigError, match="does not read a NullTokenizer's model"):
        choose_encoder(NullTokenizer(10), "fastokens", [], tmp_path)
    with pytest.raises(ConfigError, match="encoders are auto, steel, fastokens"):
        choose_encoder(NullTokenizer(10), "fastest", [], tmp_path)


@pytest.mark.slow
def test_qwen_through_every_encoder(tmp_path):
    pytest.importorskip("fastokens")
    tokenizer = build_tokenizer(None, qwen_vocabulary())
    for choice in ("steel", "fastokens", "tokenizers"):
        assert choose_encoder(tokenizer, choice, random_texts(3000), tmp_path).record["name"] == choice
