"""CUDA kernels on a CPU: csrc/ops/cuda/*.cu compiled by g++ against an emulator of blocks, warps and barriers."""
