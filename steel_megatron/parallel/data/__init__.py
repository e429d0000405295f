"""Data parallel: gradients summed over ranks, and the shares that each rank updates (ZeRO-1)."""
