"""Folders of tokenizer files as ``transformers`` writes and reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from steel_megatron.jobs.durable import write_json, write_text
from steel_megatron.tokenizer.base import END_OF_TEXT

# Everything a folder may hold about its tokenizer; what is there is copied beside an exported model.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "chat_template.jinja",
)

# transformers 4 adds token_type_ids otherwise, which generate() of Llama, Qwen and GPT-2 refuses.
INPUT_NAMES = ["input_ids", "attention_mask"]


def byte_level_bpe(
    model: models.BPE, pattern: str, normalization: str | None, special_tokens: Sequence[str] = ()
) -> Backend:
    """A ``tokenizers`` byte-level BPE: normalise, cut by the pattern, spell the bytes, merge."""
    backend = Backend(model)
    if normalization == "NFC":
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    add_special_tokens(backend, special_tokens)
    return backend


def add_special_tokens(backend: Backend, names: Sequence[str]) -> None:
    """Gives the names the next free ids, in order."""
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])


def write_folder(backend: Backend, special_tokens: Sequence[str], folder: Path) -> None:
    """Writes ``tokenizer.json`` and ``tokenizer_config.json``, each in one step, for ``AutoTokenizer``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "tokenizer.json", backend.to_str(pretty=True))
    end = END_OF_TEXT if END_OF_TEXT in special_tokens else None
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": end,
        "pad_token": end,
        "additional_special_tokens": [name for name in special_tokens if name != end],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000,
        "model_input_names": INPUT_NAMES,
    }
    write_json(folder / "tokenizer_config.json", config)
