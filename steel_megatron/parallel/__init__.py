"""Floor 2: the rank grid and the layers, buffers and collectives that live on it."""
