"""Kernels are called with what csrc/ops/declarations.h says, or not at all."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch

from helpers.kernels import instruction_sets, needs_cpu_kernels
from steel_megatron.ops.native import library
from steel_megatron.ops.native.signatures import Address, Kind, parse

ROOT = Path(__file__).parents[3]
KERNEL = parse("example(int64_t dtype, const void* x, void* y, double scale)\n")["example"]


def test_a_line_of_c_is_read():
    assert KERNEL.parameters == (
        (Kind.INTEGER, "dtype"),
        (Kind.POINTER, "x"),
        (Kind.POINTER, "y"),
        (Kind.DOUBLE, "scale"),
    )
    with pytest.raises(ValueError, match="float"):
        parse("example(float x)\n")


def test_arguments_become_numbers():
    x = torch.ones(3)
    assert KERNEL.values((0, x, None, 0.5)) == [0, x.data_ptr(), 0, 0.5]
    assert KERNEL.values((0, Address(64), x, 2)) == [0, 64, x.data_ptr(), 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, None, None), "takes 4 arguments and was given 3"),
        ((0, None, None, 0.5, 1), "takes 4 arguments and was given 5"),
        ((0, 64, None, 0.5), "x is int, it must be a tensor, an Address or None"),
        ((0, 0.5, None, 0.5), "x is float"),
        ((None, None, None, 0.5), "dtype is NoneType, it must be an integer"),
        ((0.0, None, None, 0.5), "dtype is float"),
        ((Address(64), None, None, 0.5), "dtype is Address"),
        ((0, None, None, torch.ones(1)), "scale is Tensor, it must be a number"),
        ((0, None, None, Address(64)), "scale is Address"),
    ],
)
def test_other_arguments_are_refused_before_the_call(arguments, message):
    with pytest.raises(TypeError, match=message):
        KERNEL.values(arguments)


@needs_cpu_kernels
def test_a_call_with_the_wrong_arguments_does_not_reach_the_kernel():
    x = torch.ones(4)
    with pytest.raises(TypeError, match="takes 7 arguments and was given 6"):
        library.call("activation_forward", x, x, x, 0, 0, 1)
    with pytest.raises(TypeError, match="rows is float"):
        library.call("activation_forward", x, x, x, 0, 0, 1.0, 4)


@needs_cpu_kernels
def test_every_instruction_set_has_every_kernel_of_the_list():
    from steel_megatron import _ops

    listed = set(parse(_ops.SIGNATURES))
    declared = re.findall(r"^(?:CPU_)?KERNEL\((\w+),", (ROOT / "csrc/ops/declarations.h").read_text(), re.MULTILINE)
    assert listed == set(declared), "the module was built from another list: build it again"
    for kernels in instruction_sets():
        assert {name for name, _ in inspect.getmembers(kernels, callable)} == listed
