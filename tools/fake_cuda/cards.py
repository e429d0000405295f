"""What cards reach, not what their data sheets promise: the roofs that a trace is priced by.

Each figure was measured by others or is marked as an estimate; docs/gpu.md names the sources.
"""

from __future__ import annotations

from dataclasses import dataclass

TERA, GIGA = 1e12, 1e9


@dataclass(frozen=True)
class Card:
    """A GPU's roofs.

    Args:
        peak: dense 16-bit FLOP/s of the data sheet, what MFU divides by.
        matmul: 16-bit FLOP/s that large matmuls reach.
        matmul_8bit: 8-bit FLOP/s that large matmuls reach; 0: it has no 8-bit matmuls.
        bandwidth: bytes/s that a copy reads and writes.
        attention: by kernel, shares of ``peak`` that causal attention reaches over 2,048 tokens with heads of 128,
            forward and backward; FLOPs as the kernels' authors count them, five products in the backward pass.
        link: bytes/s in and out that one GPU of a node of 8 reaches in large collectives.
        memory: bytes.
        capability: of compute.
        name: as torch tells it.
        estimated: which of these figures nobody is known to have measured.
    """

    peak: float
    matmul: float
    matmul_8bit: float
    bandwidth: float
    attention: dict[str, tuple[float, float]]
    link: float
    memory: int
    capability: tuple[int, int]
    name: str
    estimated: str = ""


AMPERE = {"flash2": (0.53, 0.43)}
HOPPER = {"flash2": (0.25, 0.26), "cudnn": (0.53, 0.43)}


def _a100(bandwidth: float, memory: int, name: str, link: float) -> Card:
    figures = (312 * TERA, 271 * TERA, 0.0, bandwidth * TERA, AMPERE, link * GIGA, memory << 30, (8, 0))
    return Card(*figures, name, "bandwidth, attention, link")


def _hopper(bandwidth: float, memory: int, name: str, link: float) -> Card:
    figures = (989 * TERA, 794 * TERA, 1403 * TERA, bandwidth * TERA, HOPPER, link * GIGA, memory << 30, (9, 0))
    return Card(*figures, name, "bandwidth, attention, link")


def _other(
    peak: float,
    roofs: tuple[float, float],
    bandwidth: float,
    attention: dict[str, tuple[float, float]],
    link: float,
    memory: int,
    capability: tuple[int, int],
    name: str,
) -> Card:
    matmul, matmul_8bit = roofs
    figures = (peak * TERA, matmul * TERA, matmul_8bit * TERA, bandwidth * TERA, attention, link * GIGA, memory << 30)
    return Card(*figures, capability, name, "all but the peak")


CARDS = {
    "a100-40g": _a100(1.25, 40, "NVIDIA A100-SXM4-40GB", 230),
    "a100-80g": _a100(1.5, 80, "NVIDIA A100-SXM4-80GB", 230),
    "a800-80g": _a100(1.5, 80, "NVIDIA A800-SXM4-80GB", 150),
    "h100": _hopper(2.6, 80, "NVIDIA H100 80GB HBM3", 360),
    "h800": _hopper(2.6, 80, "NVIDIA H800", 160),
    "h200": _hopper(4.0, 141, "NVIDIA H200", 360),
    "h20": _other(148, (130, 250), 3.3, {"flash2": (0.45, 0.45), "cudnn": (0.73, 0.65)}, 360, 96, (9, 0), "NVIDIA H20"),
    "l40s": _other(362, (250, 450), 0.72, {"flash2": (0.50, 0.42)}, 20, 48, (8, 9), "NVIDIA L40S"),
    "rtx4090": _other(165.2, (150, 280), 0.86, {"flash2": (0.80, 0.65)}, 18, 24, (8, 9), "NVIDIA GeForce RTX 4090"),
}
