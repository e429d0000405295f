"""Compiled kernels (csrc/ops) as torch.library operations: C++ on a CPU, CUDA on a GPU. Nothing here is needed."""
