"""Compiled kernels (csrc/ops) as torch.library operations: C++ on a CPU, CUDA on a GPU. Nothing here is needed.

Operations that torch.compile fuses as well have a file here and one of the same functions in compiled/, and what both
register in formulas.py; others hold all in their own file.
"""
