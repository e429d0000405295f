"""Floor 1: text ↔ ids. No torch here."""

from steel_megatron.tokenizer.base import EncodedBatch, Tokenizer
from steel_megatron.tokenizer.build import TOKENIZER_TYPES, build_tokenizer

__all__ = ["TOKENIZER_TYPES", "EncodedBatch", "Tokenizer", "build_tokenizer"]
