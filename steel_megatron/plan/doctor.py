"""The report of ``steel doctor``: facts of the machine in words, and what to do about what is amiss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from steel_megatron.config.instruction_set import INSTRUCTION_SET_VARIABLE
from steel_megatron.plan.machine import OPTIONAL

GIB = 1 << 30


@dataclass(frozen=True)
class Advice:
    """Something amiss and the step that mends it."""

    problem: str
    fix: str


def advise(facts: dict[str, Any]) -> Iterator[Advice]:
    """Common problems found in the facts of :func:`~steel_megatron.plan.machine.describe_machine`."""
    part = _get(facts, "compiled_parts", "_indexed")
    if part not in (None, "loads"):
        problem = f"the C++ extension {part}: no dataset can be written or read"
        yield Advice(problem, "pip install --force-reinstall --no-deps .")
    build, driver = _get(facts, "torch", "build"), _get(facts, "gpu_driver", "names")
    if driver and build == "CPU only":
        yield Advice(
            f"{len(driver)} × {driver[0]}, but torch is a CPU build",
            f"pip install --force-reinstall torch=={_get(facts, 'torch', 'version').split('+')[0]}"
            " --index-url https://download.pytorch.org/whl/cu130",
        )
    elif driver and not facts.get("gpus"):
        yield Advice(
            f"the driver {_get(facts, 'gpu_driver', 'version')} shows {driver[0]}, but torch ({build}) sees no GPU",
            "bring the driver up to torch's CUDA version, or unset CUDA_VISIBLE_DEVICES",
        )
    if facts.get("gpus") and _get(facts, "communication", "nccl") is None:
        yield Advice("torch has no NCCL: several GPUs cannot talk", "install a torch build from pytorch.org")
    if "error" in (facts.get("torch") or {}):
        yield Advice(f"torch does not load: {facts['torch']['error']}", "pip install --force-reinstall torch")
    shared = _get(facts, "storage", "shared_memory", "free")
    if shared is not None and shared < GIB:
        yield Advice(
            f"/dev/shm has {size(shared)} free: processes of one machine exchange data through it",
            "start the container with --ipc=host or --shm-size=8g",
        )
    free = _get(facts, "storage", "working_folder", "free")
    if free is not None and free < 10 * GIB:
        yield Advice(
            f"{size(free)} free in the working folder: a checkpoint of a 1 B model takes about 14 GB",
            "let --save point to a larger disk",
        )


def render(facts: dict[str, Any]) -> str:
    """The report as text."""
    lines = []
    for title, rows in _sections(facts).items():
        width = max((len(name) for name, _ in rows), default=0)
        lines += [title, *(f"  {name:<{width}}  {value}".rstrip() for name, value in rows), ""]
    advice = list(advise(facts))
    lines.append("Advice" if advice else "Nothing amiss.")
    lines += [f"  - {item.problem}\n    {item.fix}" for item in advice]
    return "\n".join(lines)


def size(count: int | None) -> str:
    """Bytes in words."""
    if count is None:
        return "unknown"
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / (1 << 20):.0f} MiB"


def _sections(facts: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    sections: dict[str, list[tuple[str, str]]] = {}
    for title, names in _LAYOUT.items():
        rows: list[tuple[str, str]] = []
        for name in names:
            value = facts.get(name)
            if isinstance(value, dict) and "error" in value:
                rows.append((name, f"could not be found out ({value['error']})"))
            elif value is None or (value == {} and name != "gpu_driver"):
                rows.append((name, "unknown"))
            else:
                rows += _ROWS.get(name, _plain_rows)(value)
        sections[title] = rows
    return sections


def _plain_rows(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, dict):
        return [("", str(value))]
    return [(name, _words(item)) for name, item in value.items()]


def _compiled_rows(value: dict[str, Any]) -> list[tuple[str, str]]:
    cap = value["instruction_set_cap"]
    chosen = value["instruction_set"] + (f" ({INSTRUCTION_SET_VARIABLE}={cap})" if cap else "")
    return [
        ("dataset builder", value["_indexed"]),
        ("instruction set", chosen),
        ("build record", _words(value["build"])),
    ]


def _memory_rows(value: dict[str, Any]) -> list[tuple[str, str]]:
    text = f"{size(value['total'])}, {size(value['available'])} available"
    if value["container_limit"] is not None:
        text += f", limited to {size(value['container_limit'])} by the container"
    return [("memory", text)]


def _gpu_rows(value: list[dict[str, Any]]) -> list[tuple[str, str]]:
    rows = [
        (
            f"GPU {i}",
            f"{gpu['name']}, {size(gpu['memory'])} ({size(gpu['free'])} free), sm_{gpu['capability'].replace('.', '')}",
        )
        for i, gpu in enumerate(value)
    ]
    return rows or [("GPUs", "none that torch can use")]


def _driver_rows(value: dict[str, Any]) -> list[tuple[str, str]]:
    if not value:
        return [("NVIDIA driver", "none")]
    links = ", ".join(value["links"]) or "unknown"
    return [("NVIDIA driver", f"{value['version']}, {len(value['names'])} GPUs"), ("links", links)]


def _package_rows(value: dict[str, str | None]) -> list[tuple[str, str]]:
    return [(name, version or ("-" if name in OPTIONAL else "missing")) for name, version in value.items()]


def _storage_rows(value: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (name.replace("_", " "), f"{size(place['free'])} free of {size(place['total'])} ({place['path']})")
        for name, place in value.items()
    ]


def _words(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_words(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    return str(value)


def _get(facts: Any, *path: str) -> Any:
    for name in path:
        if not isinstance(facts, dict):
            return None
        facts = facts.get(name)
    return facts


_LAYOUT = {
    "Machine": ("system", "cpu", "memory"),
    "torch": ("torch", "communication"),
    "GPUs": ("gpus", "gpu_driver"),
    "Compilers and compiled parts": ("compilers", "compiled_parts"),
    "Packages": ("packages",),
    "Backends": ("backends",),
    "Storage": ("storage",),
}
_ROWS: dict[str, Any] = {
    "compiled_parts": _compiled_rows,
    "memory": _memory_rows,
    "gpus": _gpu_rows,
    "gpu_driver": _driver_rows,
    "packages": _package_rows,
    "storage": _storage_rows,
}
