"""The feed-forward part of a block."""
