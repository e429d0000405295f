"""``steel convert``: files of a corpus to {text, source, id} JSON lines."""
