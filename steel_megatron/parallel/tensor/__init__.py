"""Tensor parallel: the layers that the model is written in."""
