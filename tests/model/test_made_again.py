"""A tensor that is made again in the backward pass instead of being kept."""

from __future__ import annotations

import torch

from steel_megatron.model.made_again import made_again


def test_gradients_are_those_of_the_kept_tensor_and_it_is_made_once_more_where_it_was_saved() -> None:
    x = torch.arange(1.0, 7.0).view(2, 3).requires_grad_()
    weight = torch.tensor([[2.0, 3.0, 5.0]], requires_grad=True)
    kept, calls = x.detach(), []

    def again() -> torch.Tensor:
        calls.append(1)
        return kept.exp()

    y = x.exp()
    with made_again(y.detach(), again):
        z = (y.t() * weight.t()).sum()  # saves a view of y, transposed, and the weight
    assert not calls
    z.backward()
    assert len(calls) == 1
    torch.testing.assert_close(weight.grad, kept.exp().sum(0, keepdim=True))
    torch.testing.assert_close(x.grad, kept.exp() * weight.detach())
