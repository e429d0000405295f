"""From a file's bytes to its records, in constant memory, whatever the size of the file."""

from steel_megatron.corpus.readers.recognise import recognise
from steel_megatron.corpus.readers.row import MAX_RECORD_BYTES, Row

__all__ = ["MAX_RECORD_BYTES", "Row", "recognise"]
