"""What other packages are here, and why one cannot be used: answers for the policy in backends.py."""

from __future__ import annotations

import functools
import importlib

import torch

from steel_megatron.config.texts import first_line

NEEDS_GPU = "it needs a GPU"


@functools.cache
def why_not_importable(*modules: str, functions: tuple[str, ...] = ()) -> str | None:
    """None if all modules load and have these functions; else the first that does not, and why.

    A module that is there but does not load (built for another torch, as a rule) says so. A folder without code of its
    own, which another package has left under the name, counts as not installed.
    """
    for name in modules:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            whole = error.name is not None and (name == error.name or name.startswith(error.name + "."))
            return f"{name} is not installed" if whole else f"{name} is installed but broken: {error}"
        except Exception as error:  # whatever the code of others raises: a wrong symbol, a missing attribute, …
            return f"{name} is installed but broken: {first_line(error)}"
        lacking = [function for function in functions if not callable(getattr(module, function, None))]
        if lacking and getattr(module, "__file__", None) is None and hasattr(module, "__path__"):
            return f"{name} is not installed: another package has left a folder of this name"
        if lacking:
            return f"{name} is installed but broken: it has no {lacking[0]}"
    return None


def why_no_gpu(device_type: str, least: tuple[int, int] = (8, 0), below: tuple[int, int] | None = None) -> str | None:
    """None if the device is a GPU with a compute capability in [least, below). No GPU in sight is taken as one."""
    if device_type != "cuda":
        return NEEDS_GPU
    if torch.cuda.is_available():
        capability = torch.cuda.get_device_capability()
        if capability < least or (below is not None and capability >= below):
            beyond = "" if below is None else f", below {below[0]}.{below[1]}"
            return f"it needs compute capability {least[0]}.{least[1]}{beyond}, not {capability[0]}.{capability[1]}"
    return None
