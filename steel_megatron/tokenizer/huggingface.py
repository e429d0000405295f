"""Tokenizers of Hugging Face models, through the ``tokenizers`` library."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from steel_megatron.config import DataError
from steel_megatron.config.texts import first_line, read_json_object
from steel_megatron.jobs.durable import write_json, write_text
from steel_megatron.tokenizer.base import END_OF_TEXT, EncodedBatch, Tokenizer, flat_batch
from steel_megatron.tokenizer.fingerprint import huggingface_fingerprint
from steel_megatron.tokenizer.hf_folder import INPUT_NAMES, TOKENIZER_FILES

_CONTROL_MARK = re.compile(r"<\|.*\|>")


class HuggingFaceTokenizer(Tokenizer):
    """The tokenizer of a local folder (``tokenizer.json`` and what stands beside it) or of a model on the hub.

    Ids are those of ``tokenizer.json`` without added beginning or end and with no special token recognised in text.
    Special are the tokens declared so, and any other added token written ``<|…|>``. Truncation, padding and BPE dropout
    that the file may hold are switched off.

    The end of a document is ``<|endoftext|>`` where the vocabulary has it as a special token, else the ``eos_token`` of
    ``tokenizer_config.json``: a chat model's ``eos_token`` ends a turn, not a document.

    Args:
        model: folder, path of a ``tokenizer.json``, or hub name ("Qwen/Qwen2-0.5B").

    Raises:
        DataError: nothing there, no fast tokenizer, or a damaged file.
    """

    type = "HuggingFaceTokenizer"

    def __init__(self, model: str | os.PathLike[str]) -> None:
        self._folder = find_folder(model)
        self._content = _read_content(self._folder)
        try:
            self._backend = Backend.from_str(json.dumps(self._content, ensure_ascii=False))
        except Exception as error:  # what the library raises on content it cannot read is a plain Exception
            raise DataError(
                f"{self._folder / 'tokenizer.json'}: {error}",
                rule="it is a file that the installed tokenizers library reads",
                fix="copy the file again, or bring tokenizers up to date",
            ) from None
        self._backend.encode_special_tokens = True
        self._special = {token["content"]: token["id"] for token in self._content["added_tokens"] if token["special"]}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._folder,)

    @property
    def content(self) -> Mapping[str, Any]:
        """What decides on ids, in the form of a ``tokenizer.json``."""
        return self._content

    @cached_property
    def vocab_size(self) -> int:
        return max(self._backend.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def eod_id(self) -> int | None:
        if END_OF_TEXT in self._special:
            return self._special[END_OF_TEXT]
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            token = read_json_object(self._folder / name).get("eos_token")
            token = token.get("content") if isinstance(token, dict) else token
            if token is not None:
                return self._backend.token_to_id(token)
        return None

    @property
    def special_tokens(self) -> Mapping[str, int]:
        return self._special

    @cached_property
    def fingerprint(self) -> str:
        return huggingface_fingerprint(self._content)

    def encode(self, text: str) -> list[int]:
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> EncodedBatch:
        return flat_batch(
            [encoding.ids for encoding in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]
        )

    def decode(self, ids: Sequence[int]) -> str:
        return self._backend.decode(list(ids), skip_special_tokens=False)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for name in TOKENIZER_FILES:
            if (self._folder / name).is_file() and self._folder.resolve() != target.resolve():
                shutil.copyfile(self._folder / name, target / name)
        if not (target / "tokenizer.json").is_file():
            write_text(target / "tokenizer.json", self._backend.to_str())
        if not (target / "tokenizer_config.json").is_file():
            end = next((name for name, id_ in self._special.items() if id_ == self.eod_id), None)
            config = {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "eos_token": end,
                "model_input_names": INPUT_NAMES,
            }
            write_json(target / "tokenizer_config.json", config)


def find_folder(model: str | os.PathLike[str]) -> Path:
    """The local folder of a tokenizer; a hub name's files are downloaded or taken from the hub's cache."""
    path = Path(model)
    if path.is_dir():
        return path
    if path.is_file():
        if path.name != "tokenizer.json":
            raise DataError(
                f"{path} as a Hugging Face tokenizer",
                rule="the file is called tokenizer.json, with the other files of the tokenizer beside it",
                fix="give the folder that holds it",
            )
        return path.parent
    name = str(model)
    if not looks_like_hub_name(name):
        raise DataError(f"no tokenizer at {name}", fix="check the path given to --tokenizer-model")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(TOKENIZER_FILES)))
    except Exception as error:  # the hub's client raises a dozen kinds: offline, unknown name, gated, no permission
        raise DataError(
            f"no folder {name} here, and the hub gives no such tokenizer: {first_line(error)}",
            fix="check the name, or give the folder of a downloaded tokenizer to --tokenizer-model",
        ) from error


def looks_like_hub_name(name: str) -> bool:
    """Whether the text could name a model on the hub: ``name`` or ``owner/name``."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name) is not None


def _read_content(folder: Path) -> dict[str, Any]:
    """The content of ``tokenizer.json``, with what makes ids depend on more than the text switched off."""
    if (folder / "tokenizer.json").is_file():
        content = read_json_object(folder / "tokenizer.json")
    else:
        content = json.loads(_convert_slow(folder).to_str())
    try:
        for token in content["added_tokens"]:
            token["special"] = token["special"] or _CONTROL_MARK.fullmatch(token["content"]) is not None
        content["model"].pop("dropout", None)
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / 'tokenizer.json'} has no usable entry {error}", fix="copy the file again") from None
    content["truncation"] = content["padding"] = None
    if content["model"].get("type") == "Unigram":
        # A unigram model finds every piece of its vocabulary in text, control tokens too, unless they cost too much.
        special = {token["content"] for token in content["added_tokens"] if token["special"]}
        content["model"]["vocab"] = [
            [piece, -1e6 if piece in special else score] for piece, score in content["model"]["vocab"]
        ]
    return content


def _convert_slow(folder: Path) -> Backend:
    """The fast form that ``transformers`` makes of a folder without ``tokenizer.json``."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, use_fast=True).backend_tokenizer
    except Exception as error:  # whatever the class of that tokenizer raises on what it does not find
        raise DataError(
            f"{folder} holds no tokenizer.json, and transformers makes no fast tokenizer of it: {first_line(error)}",
            rule="a Hugging Face tokenizer here is a fast one",
            fix="check that the folder is a tokenizer's; give --tokenizer-type if it is of another kind",
        ) from error
