"""Turns CUDA source into C++ for the emulator: what g++ cannot parse is written otherwise, line by line as before."""

from __future__ import annotations

import re

STATIC = re.compile(r"(?<!extern )__shared__\s+([\w:]+)\s+(\w+)((?:\[[^\]]+\])+)\s*;")
DYNAMIC = re.compile(r"extern\s+__shared__\s+([\w:]+)\s+(\w+)\[\]\s*;")
BOUNDS = re.compile(r"__launch_bounds__\s*\(")


def rewrite(source: str, path: str) -> str:
    """C++ for ``device.h``, with the line numbers of ``source``, which is the text of the file at ``path``.

    Known: shared memory in arrays, static and dynamic; ``__launch_bounds__``; launches by ``<<<…>>>``.

    Raises:
        ValueError: parentheses do not match, or shared memory is declared in another way.
    """
    text = DYNAMIC.sub(r"\1* \2 = static_cast<\1*>(emulator::dynamic_shared());", source)
    text = STATIC.sub(r"EMULATOR_STATIC_SHARED(\1, \2, \3);", text)
    if "__shared__" in text:
        raise ValueError(f"{path}: shared memory is known as an array of one type: __shared__ T name[N];")
    text = _launches(_bounds(text))
    assert text.count("\n") == source.count("\n")
    return f'#line 1 "{path}"\n{text}'


def _bounds(text: str) -> str:
    """``__launch_bounds__(N)`` becomes a check at the beginning of the kernel."""
    while found := BOUNDS.search(text):
        end = _closing(text, found.end() - 1)
        body = text.index("{", _closing(text, text.index("(", end))) + 1
        check = f" EMULATOR_LAUNCH_BOUNDS({text[found.end() : end]})"
        # A line break of the removed part stays one.
        gap = "\n" * text.count("\n", found.start(), end)
        text = text[: found.start()] + gap + text[end + 1 : body] + check + text[body:]
    return text


def _launches(text: str) -> str:
    """``kernel<<<grid, block>>>(arguments)`` becomes ``emulator::Launch("kernel", grid, block)(kernel, arguments)``."""
    while (at := text.find("<<<")) >= 0:
        close = text.index(">>>", at)
        opening = text.index("(", close)
        end = _closing(text, opening)
        start = _callee(text, at)
        kernel, settings, arguments = text[start:at], text[at + 3 : close], text[opening + 1 : end]
        name = re.match(r"\w+", kernel)
        assert name is not None
        call = f'emulator::Launch("{name[0]}", {settings})({kernel}, {arguments})'
        text = text[:start] + call + text[end + 1 :]
    return text


def _closing(text: str, opening: int) -> int:
    """Where the parenthesis that opens at ``opening`` closes."""
    depth = 0
    for place in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError(f"a parenthesis is never closed: {text[opening : opening + 60]}")


def _callee(text: str, end: int) -> int:
    """Where the name begins, with template arguments, that ends before ``end``."""
    place = len(text[:end].rstrip())
    if text[place - 1] == ">":
        depth = 0
        while True:
            place -= 1
            depth += {">": 1, "<": -1}.get(text[place], 0)
            if depth == 0:
                break
    while re.match(r"\w", text[place - 1]):
        place -= 1
    return place
