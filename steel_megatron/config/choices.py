"""Choices of knobs as types: the flag, its help, the check of a value and mypy read them from here."""

from __future__ import annotations

from typing import Literal

AttentionBackend = Literal[
    "auto",
    "steel",
    "flash",
    "flash2",
    "flash3",
    "flash4",
    "sdpa_flash3",
    "sdpa_flash4",
    "fused",
    "cudnn",
    "sdpa",
    "unfused",
    "local",
]
DeviceChoice = Literal["auto", "cpu", "cuda"]
DistributedBackend = Literal["auto", "nccl", "gloo"]
Fp8Format = Literal["hybrid", "e4m3"]
Fp8Recipe = Literal["tensorwise", "delayed"]
KernelBackend = Literal["auto", "steel", "compiled", "torch", "te", "apex"]
LrWsdDecayStyle = Literal["linear", "cosine", "1-sqrt"]
MomentType = Literal["fp32", "bf16"]
Normalization = Literal["RMSNorm", "LayerNorm"]
PackingMethod = Literal["none", "best-fit"]
PositionEmbeddingType = Literal["rope", "learned_absolute", "none"]
Precision = Literal["bf16", "fp16", "fp32"]
RecomputeGranularity = Literal["none", "full", "selective"]
RecomputeMethod = Literal["uniform", "block"]
RopeScalingType = Literal["none", "linear", "llama3", "yarn"]
TokenizerType = Literal["HuggingFaceTokenizer", "SentencePieceTokenizer", "TikTokenizer", "NullTokenizer"]
TransformerImpl = Literal["local", "transformer_engine"]
