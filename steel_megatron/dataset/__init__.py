"""Floor 2: indexed files → order → windows → batches."""
