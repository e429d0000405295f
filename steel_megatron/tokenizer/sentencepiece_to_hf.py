"""From a SentencePiece model to a Hugging Face folder that gives the same ids.

transformers' own conversion differs from SentencePiece in small things (a text that begins with a blank, for one), so
the fast tokenizer is put together here. Only models made as Llama's have an exact form: the ``tokenizers`` library
breaks ties of unigram models otherwise, and applies SentencePiece's normalisation tables to other stretches of text.
Of two BPE merges with one score SentencePiece takes the one further left, the library the one that is listed first; so
vocabularies that were joined afterwards, as Chinese-LLaMA's, whose added pieces all have score 0, have none either.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models, normalizers
from tokenizers import Tokenizer as Backend

from steel_megatron.config import ConfigError
from steel_megatron.jobs.durable import write_json, write_text
from steel_megatron.tokenizer.byte_bpe import merge, recover_merges
from steel_megatron.tokenizer.hf_folder import INPUT_NAMES


def save_sentencepiece_as_hf(model: bytes, folder: Path) -> None:
    """Writes ``tokenizer.json`` and ``tokenizer_config.json``.

    Raises:
        ConfigError: the model has something that the ``tokenizers`` library does otherwise.
    """
    from sentencepiece import sentencepiece_model_pb2 as schema

    proto: Any = schema.ModelProto()  # type: ignore[attr-defined]  # protobuf makes the class at run time
    proto.ParseFromString(model)
    _check_exact(proto)
    backend = _backend(proto)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "tokenizer.json", backend.to_str(pretty=True))
    spec = proto.trainer_spec
    names = {"bos_token": spec.bos_id, "eos_token": spec.eos_id, "unk_token": spec.unk_id, "pad_token": spec.pad_id}
    config: dict[str, Any] = {name: proto.pieces[id_].piece for name, id_ in names.items() if id_ >= 0}
    config |= {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_input_names": INPUT_NAMES,
    }
    write_json(folder / "tokenizer_config.json", config)


def _check_exact(proto: Any) -> None:
    """Refuses what has no exact form."""
    spec, normal = proto.trainer_spec, proto.normalizer_spec
    words = [piece.piece for piece in proto.pieces if piece.type == piece.USER_DEFINED and len(piece.piece) > 1]
    unused = [piece.piece for piece in proto.pieces if piece.type == piece.UNUSED]
    is_bpe = spec.model_type == spec.BPE
    ties = _of_one_score(proto) if is_bpe else []
    early = [] if ties or not is_bpe else _before_their_parts(_ranks(proto))
    obstacles = {
        "it is no BPE model": not is_bpe,
        f"it normalises by {normal.name}": bool(normal.precompiled_charsmap),
        "it removes extra blanks": normal.remove_extra_whitespaces,
        "it writes blanks behind words": spec.treat_whitespace_as_suffix or not normal.escape_whitespaces,
        f"it has user-defined words ({', '.join(words[:3])})": bool(words),
        f"it has unused pieces ({', '.join(unused[:3])})": bool(unused),
        f"pieces have the same score ({', '.join(ties[:3])})": bool(ties),
        f"pieces have a better score than their parts ({', '.join(early[:3])})": bool(early),
    }
    found = [text for text, applies in obstacles.items() if applies]
    if found:
        raise ConfigError(
            f"no Hugging Face form of this SentencePiece model gives its ids: {'; '.join(found)}",
            rule="an exported tokenizer gives the ids that the model was trained on",
            fix="export the model without a tokenizer, and use tokenizer.model as it is",
        )


def _of_one_score(proto: Any) -> list[str]:
    """The pieces that merge with the score of another one."""
    words = [piece for piece in proto.pieces if piece.type == piece.NORMAL and len(piece.piece) > 1]
    counts = Counter(piece.score for piece in words)
    return [piece.piece for piece in words if counts[piece.score] > 1]


def _ranks(proto: Any) -> dict[str, int]:
    """The pieces that merge, and characters, by how early they do."""
    words = sorted((piece for piece in proto.pieces if piece.type == piece.NORMAL), key=lambda piece: -piece.score)
    return {piece.piece: rank for rank, piece in enumerate(words)}


def _before_their_parts(ranks: dict[str, int]) -> list[str]:
    """The pieces that arise only by merges of a lower score than their own, which a list of merges does not say."""
    longer = (piece for piece in ranks if len(piece) > 1)
    return [
        piece for piece in longer if len(merge(piece, ranks, below=ranks[piece])) > 2 and len(merge(piece, ranks)) == 1
    ]


def _backend(proto: Any) -> Backend:
    """The fast tokenizer: merges in order of score, bytes for characters without a piece."""
    pairs, _ = recover_merges(_ranks(proto))
    backend = Backend(
        models.BPE(
            {piece.piece: id_ for id_, piece in enumerate(proto.pieces)},
            pairs,
            unk_token=proto.pieces[proto.trainer_spec.unk_id].piece,
            fuse_unk=True,
            byte_fallback=proto.trainer_spec.byte_fallback,
        )
    )
    prefix = proto.normalizer_spec.add_dummy_prefix
    blanks = normalizers.Replace(" ", "▁")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), blanks] if prefix else [blanks])
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    control = [piece.piece for piece in proto.pieces if piece.type in (piece.CONTROL, piece.UNKNOWN)]
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in control])
    return backend
