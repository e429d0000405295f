"""A CUDA device on which nothing is computed: the real trainer runs on it, for any rank of any layout, on a CPU.

What is real: every line of Python of a training run, torch's dispatcher and autograd, the shapes, types and devices of
all tensors, and the order of all collectives. What is not: values, kernels' bodies, streams and time. :mod:`guard` is
loaded before torch, so whatever uses this is a process of its own.
"""
