"""Which implementation serves each operation: one policy, in one place.

Everything has a torch implementation that is always there and always right. An operation's own file holds its
implementations by the name of their backend and asks :func:`pick` which one takes given tensors; what is chosen and why
is told by :func:`report`, which ``steel doctor`` prints.

``auto`` goes by the times that were measured on this machine; where there are none, by the table in
operations.py; else it is torch.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steel_megatron.config import ConfigError
from steel_megatron.ops import measured, shipped
from steel_megatron.ops.available import BACKENDS, turn_on_in_torch
from steel_megatron.ops.constants import constant_in_graphs
from steel_megatron.ops.operations import FLAGS, IN_TORCH, NOT_DETERMINISTIC, OPERATIONS, OURS
from steel_megatron.ops.packages import NEEDS_GPU, why_no_gpu

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """The implementation chosen for an operation on a kind of device, and the reason."""

    implementation: str
    reason: str

    def __str__(self) -> str:
        return f"{self.implementation} ({self.reason})"


_requested: dict[str, str] = {}
_orders: dict[tuple[str, str], tuple[str, ...]] = {}


def use_kernel_backend(name: str, device_type: str) -> None:
    """What ``--kernel-backend`` says, for all that follows in this process.

    Operations that the backend does not have, and tensors that it does not take, are served as by ``auto``.

    Raises:
        ConfigError: it is not there.
    """
    _use("--kernel-backend", name, device_type)


def use_attention_backend(name: str, device_type: str) -> None:
    """What ``--attention-backend`` says, for all that follows in this process; tensors it does not take: as ``auto``.

    Raises:
        ConfigError: it is not there.
    """
    if name in IN_TORCH:
        why = why_no_gpu(device_type, least=(9, 0)) or turn_on_in_torch(IN_TORCH[name])
        if why is not None:
            raise ConfigError(
                f"--attention-backend {name} on {device_type}",
                rule=why,
                fix=f"{BACKENDS[f'flash{IN_TORCH[name]}'].install}, or --attention-backend auto",
            )
    _use("--attention-backend", name, device_type)


def pick(operation: str, *tensors: Tensor | None) -> str:
    """The backend whose implementation of an operation is to run on these tensors; the first one says the device."""
    given = tensors[0]
    assert given is not None
    order = _order(operation, given.device.type)
    for backend in order:
        if BACKENDS[backend].fits(*tensors):
            if backend != order[0] and not torch.compiler.is_compiling():
                _tell_once(operation, order[0], backend, given.dtype, given.shape[-1])
            return backend
    raise AssertionError(f"the last implementation of {operation} takes everything")


def fused(operation: str, modules: Mapping[str, Any], *tensors: Tensor | None) -> Any:
    """The module, by name of backend, whose fused operations run on these tensors; None: torch's single ones do."""
    return modules.get(pick(operation, *tensors))


def serves(operation: str, *tensors: Tensor | None) -> bool:
    """Whether our compiled kernel runs an operation on these tensors."""
    return pick(operation, *tensors) == "steel"


def choice(operation: str, device_type: str) -> Choice:
    """What :func:`pick` prefers for tensors that every backend takes, and why."""
    known = OPERATIONS[operation]
    first = _order(operation, device_type)[0]
    requested = _requested.get(known.flag, "auto")
    if first in FLAGS[known.flag][requested]:
        return Choice(first, f"as {known.flag} {requested} asks")
    times = measured.times(device_type)
    if times is not None and first in times["seconds"].get(operation, {}):
        here = [f"{name} {1e3 * seconds:.3g} ms" for name, seconds in times["seconds"][operation].items()]
        here += [f"{name} failed: {why}" for name, why in measured.failed(operation, device_type).items()]
        return Choice(first, f"fastest here on {times['date']}: {', '.join(here)}")
    auto = _table(operation, device_type)
    if first in auto:
        before = list(auto)[: list(auto).index(first)]
        return Choice(first, "; ".join([auto[first], *_why_not(operation, before, device_type)]))
    others = [name for name in known.backends[:-1] if BACKENDS[name].missing(device_type) != NEEDS_GPU]
    return Choice(first, "; ".join(_why_not(operation, others, device_type)) or f"there is no other on {device_type}")


def _table(operation: str, device_type: str) -> dict[str, str]:
    """What ``auto`` tries where nothing was measured, in turn, and why."""
    known = OPERATIONS[operation]
    table = dict(known.auto.get(device_type, {}))
    for name in [name for name, why in table.items() if not why]:
        if shipped.ours_is_slower(operation):
            del table[name]
            name = known.backends[-1]
        table[name] = shipped.reason(operation)
    return table


def _why_not(operation: str, names: Iterable[str], device_type: str) -> list[str]:
    """What keeps ``auto`` from each of these backends."""
    away = _requested.get("--kernel-backend") == "torch"
    return [
        f"{name}: "
        + (
            BACKENDS[name].missing(device_type)
            or _left_out().get(name)
            or measured.failed(operation, device_type).get(name)
            or ("not with --kernel-backend torch" if away and name in OURS else "not timed here")
        )
        for name in names
    ]


def report() -> dict[str, str]:
    """What every operation will use on this machine, in words, and what brings the backends that are not here."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = {known.name: str(choice(operation, device)) for operation, known in OPERATIONS.items()}
    missing = {name: backend.missing(device) for name, backend in BACKENDS.items()}
    for_gpus = [name for name, why in missing.items() if why == NEEDS_GPU]
    if for_gpus:
        found["for GPUs"] = ", ".join(for_gpus)
    for name, why in missing.items():
        if why and name not in for_gpus:
            install = BACKENDS[name].install
            found[f"not here: {name}"] = f"{why}; {install}" if install else why
    return found


@contextlib.contextmanager
def forced(operation: str, backend: str, device_type: str) -> Iterator[None]:
    """One implementation, whatever the flags say; for measuring. Tensors that it does not take go to the last."""
    key, before = (operation, device_type), dict(_orders)
    _orders[key] = tuple(dict.fromkeys((backend, OPERATIONS[operation].backends[-1])))
    try:
        yield
    finally:
        _orders.clear()
        _orders.update(before)


def forget_orders() -> None:
    """After a change of flags or measured times: orders are made anew when next asked for."""
    _orders.clear()


def unmeasured(device_type: str) -> bool:
    """Whether something is here of which the measured times say nothing."""
    return any(
        BACKENDS[name].missing(device_type) is None and name not in measured.tried(operation, device_type)
        for operation, known in OPERATIONS.items()
        if known.measured
        for name in known.backends
        if name != "compiled" or BACKENDS["steel"].missing(device_type)
    )


def slow_paths(device_type: str) -> str | None:
    """What a run on a GPU pays for operations that torch does in several passes; None where it does not."""
    paid = [
        f"{known.name} {known.price:.2g} ×"
        for operation, known in OPERATIONS.items()
        if known.price > 1.0
        and choice(operation, device_type).implementation == "torch"
        and not measured.fastest_first(operation, device_type)
    ]
    if device_type != "cuda" or not paid:
        return None
    why = BACKENDS["steel"].missing(device_type) or "they are not asked for"
    return (
        f"slow path: torch's operations move more bytes than fused kernels: {', '.join(paid)} (traced on steel_1b; "
        f"together they cost a quarter of a step). Fused kernels do not run because {why}; {BACKENDS['steel'].install}"
    )


def chosen(device_type: str) -> dict[str, str]:
    """The implementation of each operation: what all ranks of a run have to agree on."""
    return {operation: choice(operation, device_type).implementation for operation in OPERATIONS}


@functools.cache
def _tell_once(operation: str, refused: str, taken: str, dtype: torch.dtype, width: int) -> None:
    """A choice that does not take what the model gives it must not pass unseen."""
    known = OPERATIONS[operation]
    if refused in FLAGS[known.flag][_requested.get(known.flag, "auto")]:
        kind = str(dtype).removeprefix("torch.")
        log.warning("%s %s does not take %s of width %d: %s runs", known.name, refused, kind, width, taken)


def _use(flag: str, name: str, device_type: str) -> None:
    if name not in FLAGS[flag]:
        raise ConfigError(f"{flag} {name}", rule=f"it is one of {', '.join(FLAGS[flag])}")
    wanted = FLAGS[flag][name]
    missing = {backend: BACKENDS[backend].missing(device_type) for backend in wanted}
    if wanted and all(missing.values()):
        steps = [BACKENDS[backend].install for backend, why in missing.items() if why != NEEDS_GPU]
        raise ConfigError(
            f"{flag} {name} on {device_type}",
            rule="; ".join(dict.fromkeys(map(str, missing.values()))),
            fix=", or ".join([*filter(None, steps), f"{flag} auto"]),
        )
    loose = [NOT_DETERMINISTIC[backend] for backend in wanted if backend in _left_out()]
    if loose:
        raise ConfigError(
            f"{flag} {name} with --deterministic-mode",
            rule="; ".join(dict.fromkeys(loose)),
            fix=f"{flag} auto, or leave out --deterministic-mode",
        )
    _requested[flag] = name
    forget_orders()
    _tell_once.cache_clear()


def _left_out() -> Mapping[str, str]:
    """Backends that must not run now, and why."""
    return NOT_DETERMINISTIC if torch.are_deterministic_algorithms_enabled() else {}


@constant_in_graphs
def _order(operation: str, device_type: str) -> tuple[str, ...]:
    """Backends to be tried in turn; all of them are there, and the last takes everything. torch.compile runs it."""
    key = (operation, device_type)
    if key not in _orders:
        known = OPERATIONS[operation]
        asked = [name for name in FLAGS[known.flag][_requested.get(known.flag, "auto")] if name in known.backends]
        last = known.backends[-1]
        fastest = (name for name in measured.fastest_first(operation, device_type) if name in known.backends)
        failed = measured.failed(operation, device_type)
        # Those of the table also stand behind the fastest, for tensors that it does not take.
        auto = tuple(
            dict.fromkeys([*fastest, *(name for name in _table(operation, device_type) if name not in failed)])
        )
        if _requested.get("--kernel-backend") == "torch":
            auto = tuple(name for name in auto if name not in OURS)
        left_out = _left_out()
        tried = dict.fromkeys(name for name in [*asked, *auto, last] if name not in left_out)
        usable = [name for name in tried if BACKENDS[name].missing(device_type) is None]
        _orders[key] = tuple(usable[: usable.index(last) + 1])
    return _orders[key]
