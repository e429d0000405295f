"""The operations: what implements each, what ``auto`` tries without measured times, what each flag asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """An operation with a choice.

    Args:
        name: in reports.
        backends: what implements it; the last takes everything.
        auto: by kind of device: what ``auto`` tries before the last, in turn, and why each is worth it ("": see
            shipped.py).
        flag: what chooses.
        price: on a GPU, by how much the bytes that torch's moves exceed those of a fused kernel, as traced.
        measured: it is one of those that are timed.
    """

    name: str
    backends: tuple[str, ...]
    auto: Mapping[str, Mapping[str, str]]
    flag: str = "--kernel-backend"
    price: float = 1.0
    measured: bool = True


# Of this package: --kernel-backend torch keeps auto from all of them.
OURS = ("steel", "steel_cpu", "steel_cuda", "compiled")
_BY_SHIPPED_TIMES = ""  # shipped.py has the reason, by instruction set, and may turn the choice
_ON_GPU = "fewer passes over memory than torch's, not timed on this card"
_OURS = {"cpu": {"steel": _BY_SHIPPED_TIMES}, "cuda": {"steel": _ON_GPU}}
_NEWEST = {
    "flash3": "the newest FlashAttention for this card, not timed on it",
    "flash4": "the newest FlashAttention for this card, not timed on it",
}
_FUSED = {
    "cpu": _OURS["cpu"],
    "cuda": {
        **_OURS["cuda"],
        "compiled": "torch.compile's, fewer passes over memory than torch's, not timed on this card",
    },
}
_ONE_LAUNCH = "one launch for all documents, no mask"
OPERATIONS = {
    "rms_norm": Operation("RMSNorm", ("steel", "compiled", "te", "apex", "torch"), _FUSED, price=1.5),
    "layer_norm": Operation("LayerNorm", ("steel", "compiled", "te", "apex", "torch"), _FUSED),
    "rope": Operation("RoPE", ("steel", "compiled", "torch"), _FUSED, price=3.6),
    "qk_norm_rope": Operation("norms of queries and keys with RoPE", ("steel", "compiled", "torch"), _FUSED),
    "activation": Operation("activation", ("steel", "compiled", "torch"), _FUSED, price=2.0),
    "gelu": Operation(
        "exact GELU without a gate",
        ("steel", "torch"),
        {
            "cpu": {"torch": "torch's was measured faster, on CPUs with AVX-512, and ours keeps more digits"},
            "cuda": {"torch": "one pass as well"},
        },
        measured=False,
    ),
    "cross_entropy": Operation("cross entropy", ("steel", "compiled", "torch"), _FUSED, price=11.0),
    "embedding_gradient": Operation("embedding gradient", ("steel", "torch"), _OURS, price=2.1),
    "few_tokens_linear": Operation(
        "16-bit matmul of a few tokens in fp32",
        ("steel", "torch"),
        {"cpu": {"steel": "reads each weight once, where torch would cast it first"}},
        measured=False,
    ),
    "adamw": Operation("optimizer", ("steel", "apex", "torch"), _OURS),
    "gradient_norm": Operation("gradient norm", ("steel", "torch"), _OURS),
    "quantise": Operation("rounding to 8 bits", ("steel_cuda", "torch"), {"cuda": {"steel_cuda": _ON_GPU}}),
    "scaled_matmul_add": Operation(
        "8-bit weight gradient",
        ("steel_cuda", "torch"),
        {"cuda": {"steel_cuda": "cuBLASLt adds to the fp32 gradient inside the matmul, where torch makes a temporary"}},
        measured=False,
    ),
    "attention": Operation(
        "attention",
        ("flash4", "flash3", "flash2", "cudnn", "steel_cpu", "sdpa_flash", "unfused", "sdpa"),
        {
            "cpu": {"steel_cpu": _BY_SHIPPED_TIMES},
            "cuda": {**_NEWEST, "sdpa": "torch picks its kernel by card and shape"},
        },
        "--attention-backend",
    ),
    "packed_attention": Operation(
        "attention within documents",
        ("flash4", "flash3", "flash2", "varlen", "cudnn", "steel_cpu", "sdpa_flash", "unfused", "sdpa"),
        {"cpu": {"steel_cpu": _BY_SHIPPED_TIMES}, "cuda": {**_NEWEST, "varlen": _ONE_LAUNCH}},
        "--attention-backend",
    ),
}

# Backends that need not compute the same bits twice; --deterministic-mode keeps auto from them and refuses them.
NOT_DETERMINISTIC = {
    "cudnn": "its attention adds gradients in an order that changes from run to run",
    "te": "its norms and optimizer do not promise the same bits twice",
    "apex": "its norms and optimizer do not promise the same bits twice",
}

# What each value of a flag asks for: the first that is there.
FLAGS: dict[str, dict[str, tuple[str, ...]]] = {
    "--kernel-backend": {
        "auto": (),
        "steel": ("steel", "steel_cuda"),
        "compiled": ("compiled",),
        "torch": ("torch",),
        "te": ("te",),
        "apex": ("apex",),
    },
    "--attention-backend": {
        "auto": (),
        "steel": ("steel_cpu",),
        "flash": ("flash3", "flash4", "flash2", "varlen", "sdpa_flash"),
        "flash2": ("flash2",),
        "flash3": ("flash3",),
        "flash4": ("flash4",),
        "sdpa_flash3": ("varlen", "sdpa_flash"),
        "sdpa_flash4": ("varlen", "sdpa_flash"),
        "fused": ("cudnn",),
        "cudnn": ("cudnn",),
        "sdpa": ("varlen", "sdpa"),
        "unfused": ("unfused",),
        "local": ("unfused",),
    },
}
# torch's own flash attention with another FlashAttention inside.
IN_TORCH = {"sdpa_flash3": 3, "sdpa_flash4": 4}
