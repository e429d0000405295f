"""``steel tokenize``: JSON lines to datasets, restartable, the same bytes for any number of workers."""
