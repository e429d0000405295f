"""Callbacks that a run is given (``train(config, callbacks=…)``, ``--callback``), and their state in checkpoints."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from steel_megatron.config import CheckpointError, ConfigError
from steel_megatron.config.training import CALLBACKS
from steel_megatron.training.loop import Callback

log = logging.getLogger(__name__)


def given_callbacks(by_name: Sequence[str], callbacks: Sequence[Callback] = ()) -> list[Callback]:
    """Those of ``callbacks``, then those of ``--callback``, each with a name of its own, under which its state is kept.

    Raises:
        ConfigError: one is no callback, or cannot be made.
    """
    made = [*callbacks, *(CALLBACKS.make(given, "--callback") for given in by_name)]
    names: set[str] = set()
    for callback in made:
        if not isinstance(callback, Callback):
            raise ConfigError(
                f"{callback!r} among the callbacks",
                rule="a callback is an object of a class made from steel_megatron.Callback",
                fix="give an object in train(callbacks=...), and its class in --callback",
            )
        base = callback.state_name or type(callback).__name__
        callback.state_name = next(name for name in _numbered(base) if name not in names)
        names.add(callback.state_name)
    return made


def states_of(callbacks: Sequence[Callback]) -> dict[str, dict[str, Any]]:
    """Name → state of the callbacks that the run was given, for a checkpoint.

    Raises:
        CheckpointError: a state is not plain data.
    """
    states = {callback.state_name: callback.state_dict() for callback in callbacks if callback.state_name}
    for name, state in states.items():
        try:
            same = json.loads(json.dumps(state)) == state
        except (TypeError, ValueError):
            same = False
        if not same:
            raise CheckpointError(
                f"state_dict of the callback {name} gives {state!r}",
                rule="a state is plain data: a dict of texts, numbers, booleans, None, lists, and dicts with text keys",
                fix="turn tensors, tuples and sets into lists",
            )
    return states


def take_up_states(callbacks: Sequence[Callback], saved: Mapping[str, Any] | None) -> None:
    """Brings back the states of a checkpoint, and tells which callbacks are others than those that made it.

    Args:
        saved: as :func:`states_of` gave it; None: the checkpoint is of a version that kept none.
    """
    own = {callback.state_name: callback for callback in callbacks}
    for name, callback in own.items():
        if saved is not None and name in saved:
            callback.load_state_dict(saved[name])
        else:
            log.info("callback %s is not in the checkpoint: it begins anew", name)
    for name in set(saved or ()) - set(own):
        log.info("callback %s of the checkpoint is not in this run: its state is not kept", name)


def _numbered(name: str) -> Sequence[str]:
    return [name, *(f"{name} {number}" for number in range(2, 1000))]
