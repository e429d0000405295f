"""steel_megatron: 3D-parallel pretraining of ~1 B language models, from raw corpora to a Hugging Face model.

What a notebook or another project calls is here by name, imported when it is first used::

    from steel_megatron import Callback, load_run_config, train

    train(load_run_config("run.yaml", {"train_iters": 100}), callbacks=[MyCallback()])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steel_megatron.config import RunConfig, load_run_config
    from steel_megatron.training.loop import Callback, Trainer
    from steel_megatron.training.run import train

__version__ = "0.2.0"

_PUBLIC = {
    "Callback": "steel_megatron.training.loop",
    "RunConfig": "steel_megatron.config",
    "Trainer": "steel_megatron.training.loop",
    "load_run_config": "steel_megatron.config",
    "train": "steel_megatron.training.run",
}
__all__ = ["Callback", "RunConfig", "Trainer", "__version__", "load_run_config", "train"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
