"""Initial weights: what they are, and that they depend on nothing but seed and name. Layouts: see test_tensor."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from steel_megatron.parallel import init
from steel_megatron.parallel.init import initialize_parameters
from steel_megatron.parallel.parameter import Init, ParamSpec, Piece, attach_spec


def block(
    shape: tuple[int, ...],
    first: tuple[int, ...] = (0, 0),
    size: tuple[int, ...] | None = None,
    *,
    name: str = "w",
    rows: int | None = None,
    kind: str = "normal",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Tensor:
    """An initialised block of a tensor of some shape."""
    own = size or shape
    piece = Piece(name, own, shape, first[: len(shape)], Init(kind, 0.5), rows)
    parameter = attach_spec(nn.Parameter(torch.full(own, torch.nan, dtype=dtype)), ParamSpec((piece,), decay=True))
    initialize_parameters([parameter], seed)
    return parameter.detach()


@given(st.data())
def test_a_block_is_the_same_part_of_the_whole(data):
    shape = (data.draw(st.integers(1, 40)), data.draw(st.integers(1, 12)))
    first = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    size = tuple(data.draw(st.integers(1, n - o)) for n, o in zip(shape, first, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(init, "_BLOCK_ELEMENTS", data.draw(st.integers(1, 200)))
        whole = block(shape)
        part = block(shape, first, size)
    assert torch.equal(part, whole[first[0] : first[0] + size[0], first[1] : first[1] + size[1]])


def test_values_are_normal_with_the_deviation_asked_for():
    values = block((2000, 300))
    assert abs(values.mean()) < 0.005
    assert abs(values.std() - 0.5) < 0.005
    assert values[:1000].ne(values[1000:]).float().mean() > 0.99, "blocks differ from one another"


def test_the_values_are_pinned():
    """A changed generator would change every run's weights from one version to the next."""
    torch.testing.assert_close(
        block((2, 2)), torch.tensor([[0.64306855, -0.07707608], [0.27902609, 0.32198772]]), rtol=0, atol=1e-7
    )


def test_name_and_seed_matter_and_dtype_does_not():
    assert not torch.equal(block((4, 4)), block((4, 4), name="v"))
    assert not torch.equal(block((4, 4)), block((4, 4), seed=1))
    assert torch.equal(block((4, 4)).bfloat16(), block((4, 4), dtype=torch.bfloat16))


def test_padding_rows_are_zero_and_move_nothing():
    padded, plain = block((16, 4), rows=10), block((10, 4))
    assert torch.equal(padded[:10], plain)
    assert torch.equal(padded[10:], torch.zeros(6, 4))
    assert torch.equal(block((16, 4), (12, 0), (4, 4), rows=10), torch.zeros(4, 4))
    assert torch.equal(block((16, 4), (8, 0), (8, 4), rows=10)[:2], plain[8:])


def test_ones_and_zeros():
    assert torch.equal(block((3,), kind="ones"), torch.ones(3))
    assert torch.equal(block((3,), kind="zeros"), torch.zeros(3))
    with pytest.raises(ValueError, match="unknown initialisation 'uniform' of w"):
        block((3,), kind="uniform")
