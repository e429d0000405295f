"""Duplicates within and across sources, and texts of evaluation sets, are found and left out. No torch here."""

from steel_megatron.corpus.dedup.run import Deduplicated, deduplicate
from steel_megatron.corpus.dedup.settings import Against, DedupSettings, SourceInput

__all__ = ["Against", "DedupSettings", "Deduplicated", "SourceInput", "deduplicate"]
