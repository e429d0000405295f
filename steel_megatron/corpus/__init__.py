"""Floor 1: records of published corpora become clean text, a bad record costs that record. No torch here."""

from typing import TYPE_CHECKING, Any

from steel_megatron.corpus.corpus import Corpus, Kind, Option, RejectedRecordError
from steel_megatron.corpus.registry import all_corpora, find_corpus

if TYPE_CHECKING:
    from steel_megatron.corpus.convert.run import Converted, convert_corpus

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


def __getattr__(name: str) -> Any:
    """What takes all readers is loaded where it is used: most that import from this room do not convert."""
    if name not in ("Converted", "convert_corpus"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from steel_megatron.corpus.convert import run

    return getattr(run, name)
