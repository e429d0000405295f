"""Lines that many documents of a source share, its sites' boilerplate, are counted and left out. No torch here."""

from steel_megatron.corpus.repeated_lines.run import remove_lines
from steel_megatron.corpus.repeated_lines.settings import LineSettings, Unit

__all__ = ["LineSettings", "Unit", "remove_lines"]
