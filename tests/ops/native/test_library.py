"""Which tensors kernels take, and what is refused before one runs."""

from __future__ import annotations

import pytest
import torch

from steel_megatron.ops.native import library

FLOAT, HALF = torch.zeros(4), torch.zeros(4, dtype=torch.float16)


@pytest.mark.parametrize(
    ("tensors", "fit"),
    [
        ((FLOAT, None, FLOAT), True),
        ((HALF,), True),
        ((FLOAT, HALF), False),
        ((FLOAT, torch.zeros(4, device="meta")), False),
        ((torch.zeros(4, dtype=torch.float64),), False),
        ((torch.zeros(4, dtype=torch.int64),), False),
    ],
)
def test_one_known_type_on_one_device(tensors, fit):
    assert library.fits(*tensors) == fit


def test_other_devices_have_no_kernels():
    assert not library.built("xpu")


@pytest.mark.parametrize("argument", [torch.zeros(4, 4).T[1:], torch.zeros(4, device="meta")])
def test_a_tensor_that_a_kernel_would_misread_is_refused(argument):
    with pytest.raises(ValueError, match="anything: a tensor is not contiguous on cpu"):
        library.call("anything", FLOAT, argument)
