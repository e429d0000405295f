"""What cards reach, not what their data sheets promise: the roofs that a trace is priced by.

Each figure has a source in :data:`SOURCES` or is marked as an estimate; docs/gpu.md shows them.
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
        attention: shares of ``peak`` that causal attention reaches, forward and backward, with heads of 128.
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
    attention: tuple[float, float]
    link: float
    memory: int
    capability: tuple[int, int]
    name: str
    estimated: str = ""


def _a100(bandwidth: float, memory: int, name: str, link: float, estimated: str) -> Card:
    return Card(
        312 * TERA, 271 * TERA, 0.0, bandwidth, (0.62, 0.52), link * GIGA, memory << 30, (8, 0), name, estimated
    )


def _hopper(bandwidth: float, memory: int, name: str, link: float, estimated: str) -> Card:
    return Card(
        989 * TERA,
        794 * TERA,
        1403 * TERA,
        bandwidth,
        (0.58, 0.47),
        link * GIGA,
        memory << 30,
        (9, 0),
        name,
        estimated,
    )


CARDS = {
    "a100-40g": _a100(1.25 * TERA, 40, "NVIDIA A100-SXM4-40GB", 230, "bandwidth, link"),
    "a100-80g": _a100(1.5 * TERA, 80, "NVIDIA A100-SXM4-80GB", 230, "bandwidth, link"),
    "a800-80g": _a100(1.5 * TERA, 80, "NVIDIA A800-SXM4-80GB", 150, "bandwidth, link"),
    "h100": _hopper(2.6 * TERA, 80, "NVIDIA H100 80GB HBM3", 360, "bandwidth, attention, link"),
    "h800": _hopper(2.6 * TERA, 80, "NVIDIA H800", 160, "bandwidth, attention, link"),
    "h200": _hopper(4.0 * TERA, 141, "NVIDIA H200", 360, "bandwidth, attention, link"),
    "h20": Card(
        148 * TERA,
        130 * TERA,
        250 * TERA,
        3.3 * TERA,
        (0.75, 0.65),
        360 * GIGA,
        96 << 30,
        (9, 0),
        "NVIDIA H20",
        "all but the peak",
    ),
    "l40s": Card(
        362 * TERA,
        250 * TERA,
        450 * TERA,
        0.72 * TERA,
        (0.50, 0.42),
        20 * GIGA,
        48 << 30,
        (8, 9),
        "NVIDIA L40S",
        "all but the peak",
    ),
    "rtx4090": Card(
        165.2 * TERA,
        150 * TERA,
        280 * TERA,
        0.86 * TERA,
        (0.80, 0.65),
        18 * GIGA,
        24 << 30,
        (8, 9),
        "NVIDIA GeForce RTX 4090",
        "all but the peak",
    ),
}
