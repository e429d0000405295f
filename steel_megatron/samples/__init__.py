"""Floor 3: token ids to batches: the order of samples, mixtures, windows, and the loader."""
