"""Whether what is stored is what a model asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Shape = tuple[int, ...]


def misfits(stored: Mapping[str, Shape], asked: Iterable[Mapping[str, Shape]], whole: bool) -> list[str]:
    """In what a checkpoint differs from what the ranks ask for: missing tensors, other shapes, unexpected ones.

    Args:
        stored: shape of every stored tensor.
        asked: by rank, global shapes of the tensors it asks for.
        whole: no part of the stored model may be left over. Some of its state may: the weights alone are asked for when
            an optimizer starts afresh, and the weights of a model that has fp32 masters can be read from those.
    """
    found = []
    wanted: dict[str, Shape] = {}
    for shapes in asked:
        for name, shape in shapes.items():
            if wanted.setdefault(name, shape) != shape:
                found.append(f"{name} is asked for as {wanted[name]} and as {shape}")
    for name, shape in sorted(wanted.items()):
        if name not in stored:
            found.append(f"{name} is missing")
        elif stored[name] != shape:
            found.append(f"{name} is {stored[name]}, the model needs {shape}")
    if whole:
        pieces = {piece_of(name) for name in wanted}
        left_over = sorted({piece_of(name) for name in stored} - pieces)
        found += [f"the model has no {piece}" for piece in left_over]
    return found


def piece_of(name: str) -> str:
    """The part of the model that a tensor is of: what follows ``model.`` or ``optimizer.{state}.`` in its name."""
    kind, _, rest = name.partition(".")
    return rest.partition(".")[2] if kind == "optimizer" else rest
