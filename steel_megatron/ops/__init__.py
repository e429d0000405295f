"""Floor 1: one file per fused operation. Each holds the torch reference; faster backends stand behind the same functions."""
