"""Attention and the keys and values that it keeps while a text grows."""
