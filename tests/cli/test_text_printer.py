"""Texts printed while they grow."""

from __future__ import annotations

import io

from steel_megatron.cli.text_printer import TextPrinter


def test_the_first_unfinished_text_is_printed_as_it_comes():
    out = io.StringIO()
    printer = TextPrinter(["a:", "b:"], lambda ids: "".join(chr(i) for i in ids), [0], out)
    printer.add(1, ord("x"))
    assert out.getvalue() == "--- 1 of 2 ---\na:"
    printer.add(0, ord("y"))
    assert out.getvalue().endswith("a:y")
    printer.add(1, 0)
    printer.add(0, 0)
    assert out.getvalue() == "--- 1 of 2 ---\na:y\n--- 2 of 2 ---\nb:x\n"
    printer.end()
    assert out.getvalue().endswith("b:x\n")
