# What the kernels compute and are called with: csrc/ops/declarations.h. Pointers are addresses, 0 is no tensor.
from collections.abc import Callable
from types import ModuleType

class Kernels(ModuleType):
    """The kernels for an instruction set, by the names of the list; the last argument is the number of threads."""

    def __getattr__(self, name: str) -> Callable[..., None]: ...

best: Kernels
instruction_set: str
SIGNATURES: str
CHUNK: int
