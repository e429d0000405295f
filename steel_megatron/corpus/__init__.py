"""Floor 1: records of published corpora become clean text, a bad record costs that record. No torch here."""

from steel_megatron.corpus.convert.run import Converted, convert_corpus
from steel_megatron.corpus.corpus import Corpus, Kind, Option, RejectedRecordError
from steel_megatron.corpus.registry import all_corpora, find_corpus

__all__ = [
    "Converted",
    "Corpus",
    "Kind",
    "Option",
    "RejectedRecordError",
    "all_corpora",
    "convert_corpus",
    "find_corpus",
]
