"""A SentencePiece model as a Hugging Face folder: the same ids, or a refusal that says why not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2 as schema
from tokenizers import Tokenizer as Backend

from helpers.sample_texts import TEXTS
from helpers.small_sentencepiece import LIKE_LLAMA, small_sentencepiece
from steel_megatron.config import ConfigError
from steel_megatron.tokenizer.huggingface import HuggingFaceTokenizer
from steel_megatron.tokenizer.sentencepiece import SentencePieceTokenizer
from steel_megatron.tokenizer.sentencepiece_to_hf import save_sentencepiece_as_hf


def model_of(pieces: Iterable[tuple[str, float]], **kinds: str) -> Any:
    """A BPE model with these pieces and scores; ``kinds``: of pieces that are not normal ones."""
    model = schema.ModelProto()
    model.trainer_spec.model_type = model.trainer_spec.BPE
    model.trainer_spec.bos_id = model.trainer_spec.eos_id = model.trainer_spec.pad_id = -1
    model.normalizer_spec.remove_extra_whitespaces = False
    model.pieces.add(piece="<unk>", score=0.0, type=model.SentencePiece.UNKNOWN)
    for piece, score in pieces:
        model.pieces.add(piece=piece, score=score, type=getattr(model.SentencePiece, kinds.get(piece, "NORMAL")))
    return model


def both(model: Any, folder: Path) -> tuple[SentencePieceProcessor, Backend]:
    content = model.SerializeToString()
    save_sentencepiece_as_hf(content, folder)
    return SentencePieceProcessor(model_proto=content), Backend.from_file(str(folder / "tokenizer.json"))


@pytest.mark.parametrize(
    "options",
    [{}, {"add_dummy_prefix": False}, {"byte_fallback": False}, {"user_defined_symbols": ["<|im_end|>", "\t"]}],
    ids=["like llama", "no dummy prefix", "no bytes", "chat marks"],
)
def test_ids_and_texts_are_the_same_in_transformers(tmp_path: Path, options: dict[str, Any]) -> None:
    from transformers import AutoTokenizer

    tokenizer = SentencePieceTokenizer(small_sentencepiece(tmp_path / "x.model", **LIKE_LLAMA, **options))
    tokenizer.save_pretrained(tmp_path / "saved")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "saved")
    saved = HuggingFaceTokenizer(tmp_path / "saved")
    assert saved.eod_id == theirs.eos_token_id == tokenizer.eod_id
    for name, text in TEXTS.items():
        ids = tokenizer.encode(text)
        assert saved.encode(text) == ids, name
        if options.get("byte_fallback", True):  # the two write an unknown piece in other ways
            assert saved.decode(ids) == tokenizer.decode(ids), name
        if name != "control marks":
            assert theirs(text, add_special_tokens=False)["input_ids"] == ids, name


@settings(max_examples=200)
@given(
    words=st.lists(st.text("ab▁", min_size=2, max_size=5), min_size=8, max_size=8, unique=True),
    scores=st.permutations(range(8)),
    texts=st.lists(st.text("ab c", max_size=12), min_size=10, max_size=10),
)
def test_whatever_the_pieces_and_scores_ids_are_the_same_or_there_is_no_folder(
    words: list[str], scores: list[int], texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also for scores that no training gives, as where vocabularies were joined by hand."""
    longer = [(word, -float(score)) for word, score in zip(words, scores, strict=True)]
    model = model_of([*longer, ("a", -98.0), ("b", -99.0), ("▁", -100.0)])
    try:
        plain, backend = both(model, tmp_path_factory.mktemp("hf"))
    except ConfigError as refusal:
        refused = refusal.given
    else:
        refused = ""
        for text in texts:
            assert backend.encode(text).ids == plain.encode(text), text
    assert not refused or ": pieces have a better score than their parts (" in refused


def test_of_one_score_sentencepiece_takes_the_merge_further_left(tmp_path: Path) -> None:
    """So do not joined vocabularies (Chinese-LLaMA): every piece that was added has score 0."""
    model = model_of([("bc", 0.0), ("ab", 0.0), ("a", -1.0), ("b", -2.0), ("c", -3.0), ("▁", -4.0)])
    plain = SentencePieceProcessor(model_proto=model.SerializeToString())
    assert plain.encode("abc", out_type=str) == ["▁", "ab", "c"]  # the list of merges would say: a, bc
    with pytest.raises(ConfigError, match=r"pieces have the same score \(bc, ab\)"):
        both(model, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    ("pieces", "kinds", "reason"),
    [
        ([("abc", 0.0), ("ab", -1.0)], {}, r"a better score than their parts \(abc\)"),
        ([("ab", -1.0), ("abc", -2.0)], {"ab": "UNUSED"}, r"unused pieces \(ab\)"),
        ([("ab", -1.0), ("ba", -2.0)], {"ab": "USER_DEFINED", "ba": "USER_DEFINED"}, r"user-defined words \(ab, ba\)"),
    ],
)
def test_pieces_that_a_list_of_merges_cannot_say_are_refused(
    tmp_path: Path, pieces: list[tuple[str, float]], kinds: dict[str, str], reason: str
) -> None:
    characters = [("a", -10.0), ("b", -11.0), ("c", -12.0), ("▁", -13.0)]
    with pytest.raises(ConfigError, match=reason) as caught:
        both(model_of([*pieces, *characters], **kinds), tmp_path / "saved")
    assert "without a tokenizer" in caught.value.fix
    assert not (tmp_path / "saved").exists()


def test_a_piece_that_no_merge_makes_is_no_obstacle(tmp_path: Path) -> None:
    """It stands in the vocabulary, and neither finds it in a text."""
    model = model_of([("abc", -5.0), ("a", -10.0), ("b", -11.0), ("c", -12.0), ("▁", -13.0)])
    plain, backend = both(model, tmp_path)
    assert backend.token_to_id("abc") == plain.piece_to_id("abc") == 1
    assert backend.encode("abc").ids == plain.encode("abc") == [5, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"model_type": "unigram"}, "no BPE model"),
        ({"normalization_rule_name": "nmt_nfkc"}, "normalises by nmt_nfkc"),
        ({"remove_extra_whitespaces": True}, "removes extra blanks"),
        ({"treat_whitespace_as_suffix": True}, "writes blanks behind words"),
        ({"user_defined_symbols": ["人工"]}, "user-defined words"),
    ],
)
def test_a_model_without_an_equal_form_is_refused(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    path = small_sentencepiece(tmp_path / "x.model", **{**LIKE_LLAMA, **options})
    with pytest.raises(ConfigError, match=reason):
        save_sentencepiece_as_hf(path.read_bytes(), tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_all_obstacles_are_told_at_once(tmp_path: Path) -> None:
    path = small_sentencepiece(tmp_path / "x.model", model_type="unigram")
    with pytest.raises(ConfigError) as caught:
        save_sentencepiece_as_hf(path.read_bytes(), tmp_path / "saved")
    reasons = caught.value.given.split(": ", 1)[1].split("; ")
    assert reasons == ["it is no BPE model", "it normalises by nmt_nfkc", "it removes extra blanks"]


def test_control_tokens_have_their_names_and_no_merge_reaches_into_them(tmp_path: Path) -> None:
    path = small_sentencepiece(tmp_path / "x.model", pad_id=3, control_symbols=["<tool>"], **LIKE_LLAMA)
    save_sentencepiece_as_hf(path.read_bytes(), tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    names = {name: config[name] for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
    assert names == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    plain, backend = SentencePieceProcessor(model_file=str(path)), Backend.from_file(str(tmp_path / "tokenizer.json"))
    assert backend.encode("<tool></s>").ids == [plain.piece_to_id("<tool>"), plain.eos_id()]
    without_ends = small_sentencepiece(tmp_path / "y.model", eos_id=-1, bos_id=-1, **LIKE_LLAMA)
    save_sentencepiece_as_hf(without_ends.read_bytes(), tmp_path / "y")
    assert not {"bos_token", "eos_token", "pad_token"} & set(
        json.loads((tmp_path / "y/tokenizer_config.json").read_text())
    )
