"""Floor 1: one file per fused operation: the torch reference, and faster backends behind the same functions."""
