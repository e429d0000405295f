"""Floor 4: checkpoints that are whole or not there, and load on any layout."""
