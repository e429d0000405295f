"""What an operation with a choice declares, what all have declared, and what each flag asks for.

An operation is declared in the file that computes it, with what implements it, what ``auto`` tries, and what is timed.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from steel_megatron.ops.cases import Case, Setting


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
        case: what is timed of it; None for those of which ``measured`` is false, and for those whose case needs more
            than this folder has (plan/measure.py).
        measured: it is one of those that are timed.
    """

    name: str
    backends: tuple[str, ...]
    auto: Mapping[str, Mapping[str, str]]
    flag: str = "--kernel-backend"
    price: float = 1.0
    case: Callable[[Setting], Case] | None = None
    measured: bool = True


# Of this package: --kernel-backend torch keeps auto from all of them.
OURS = ("steel", "steel_cpu", "steel_cuda", "compiled")
BY_SHIPPED_TIMES = ""  # shipped.py has the reason, by instruction set, and may turn the choice
ON_GPU = "fewer passes over memory than torch's, not timed on this card"
# What auto tries, for operations with our kernels, and for those that torch.compile fuses as well.
KERNELS = {"cpu": {"steel": BY_SHIPPED_TIMES}, "cuda": {"steel": ON_GPU}}
KERNELS_OR_COMPILED = {
    "cpu": KERNELS["cpu"],
    "cuda": {
        **KERNELS["cuda"],
        "compiled": "torch.compile's, fewer passes over memory than torch's, not timed on this card",
    },
}
_declared: dict[str, Operation] = {}


def declare(operation: str, what: Operation) -> None:
    """Makes an operation known; called once, in the file that computes it."""
    _declared[operation] = what


class _Declared(Mapping[str, Operation]):
    """All operations by name; their files are loaded when one that is not known is asked for."""

    def __getitem__(self, operation: str) -> Operation:
        if operation not in _declared:
            _load_all()
        return _declared[operation]

    def __iter__(self) -> Iterator[str]:
        return iter(_load_all())

    def __len__(self) -> int:
        return len(_load_all())


@functools.cache
def _load_all() -> tuple[str, ...]:
    """Loads every file of this folder and of those in it; the names they declare."""
    here = Path(__file__).parent
    for path in sorted(here.rglob("*.py")):
        if not path.stem.startswith("_"):
            importlib.import_module(".".join([__package__, *path.relative_to(here).with_suffix("").parts]))
    return tuple(sorted(_declared))


OPERATIONS: Mapping[str, Operation] = _Declared()

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
