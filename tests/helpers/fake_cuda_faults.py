"""Faults that the fake device has to catch. Run as a program: it plants each and prints what is found, as JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from fake_cuda import guard

guard.load()

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

from fake_cuda.suite import run_cases  # noqa: E402
from steel_megatron.model.gpt import GPT  # noqa: E402
from steel_megatron.parallel import collectives  # noqa: E402
from steel_megatron.parallel.data.data_parallel import DataParallel  # noqa: E402
from steel_megatron.parallel.pipeline.messages import Batch, Mailbox  # noqa: E402
from steel_megatron.parallel.tensor import products as linear_layers  # noqa: E402
from steel_megatron.parallel.tensor import weight_grad  # noqa: E402

Planted = contextlib.AbstractContextManager[Any]


def beside_loss(fault: Callable[..., None]) -> Planted:
    """A fault beside the loss, which gets its result and its arguments."""
    loss = GPT.loss

    def faulty(self: GPT, *arguments: Any, **named: Any) -> Any:
        result = loss(self, *arguments, **named)
        fault(result[0], *arguments)
        return result

    return mock.patch.object(GPT, "loss", faulty)


def on_rank(number: int, holder: Any, name: str, fault: Callable[..., Any]) -> Planted:
    """Another function in place of one, on one rank; it gets the true one first."""
    true = getattr(holder, name)

    def chosen(*arguments: Any, **named: Any) -> Any:
        there = dist.is_initialized() and dist.get_rank() == number
        return fault(true, *arguments, **named) if there else true(*arguments, **named)

    return mock.patch.object(holder, name, chosen)


def short_scatter() -> Planted:
    true = collectives._reduce_scatter

    def faulty(output: Any, whole: Any, **named: Any) -> Any:
        return true(output[:-1], whole, **named)

    return mock.patch.object(collectives, "_reduce_scatter", faulty)


def other_order(true: Any, self: DataParallel) -> None:
    for bucket, params in self._bucket_params.items():
        self._gathers[bucket] = collectives.all_gather_flat(params, self._axes[bucket])


def one_send_less(true: Any, self: Mailbox, sends: Any, receives: Any) -> Any:
    return Batch([], []) if sends and not receives else true(self, sends, receives)


def other_type(true: Any, self: Mailbox, sends: Any, receives: Any) -> Any:
    return true(self, [(peer, tensor.float()) for peer, tensor in sends], receives)


def mixed_types(weight: Any, grad_TO: Any, x_TI: Any) -> None:
    weight.main_grad.addmm_(grad_TO.t(), x_TI.float())


@contextlib.contextmanager
def mixed_weight_gradient() -> Iterator[None]:
    with (
        mock.patch.object(linear_layers, "linear_weight_gradient", mixed_types),
        mock.patch.object(weight_grad, "linear_weight_gradient", mixed_types),
    ):
        yield


def reads_mask(loss: Any, inputs: Any, labels: Any, mask: Any, *_: Any) -> None:
    labels.clone()[mask] = labels.new_zeros(2).expand(2)[:1].expand(2)


# Name → (case, how it is planted).
FAULTS: dict[str, tuple[str, Callable[[], Planted]]] = {
    "nothing": ("dp2/bf16/steel", contextlib.nullcontext),
    "item": ("dp1/bf16/steel", lambda: beside_loss(lambda loss, *_: loss.item())),
    "synchronize": ("dp1/bf16/steel", lambda: beside_loss(lambda *_: torch.cuda.synchronize())),
    "copy to the host": ("dp1/bf16/steel", lambda: beside_loss(lambda loss, *_: loss.cpu())),
    "copy from pageable memory": (
        "dp1/bf16/steel",
        lambda: beside_loss(lambda loss, *_: torch.tensor([1.0, 2.0], device=loss.device)),
    ),
    "tensor on the host": ("dp1/bf16/steel", lambda: beside_loss(lambda loss, *_: loss + torch.ones(3))),
    "mask read": ("dp1/bf16/steel", lambda: beside_loss(lambda loss, x, labels, mask, *_: labels[mask])),
    "mask written": ("dp1/bf16/steel", lambda: beside_loss(reads_mask)),
    "types of a matmul": ("dp1/bf16/steel", mixed_weight_gradient),
    "reduce-scatter of a wrong size": ("dp2/bf16/steel", short_scatter),
    "collectives in another order": (
        "dp2/bf16/steel",
        lambda: on_rank(1, DataParallel, "gather_parameters", other_order),
    ),
    "a collective left out": (
        "dp2/bf16/steel",
        lambda: on_rank(1, DataParallel, "gather_parameters", lambda true, self: None),
    ),
    "a send left out": ("pp2/bf16/steel", lambda: on_rank(0, Mailbox, "post", one_send_less)),
    "a message of another type": ("pp2/bf16/steel", lambda: on_rank(0, Mailbox, "post", other_type)),
}


def main() -> int:
    found = {}
    for name, (case, plant) in FAULTS.items():
        with plant():
            found[name] = run_cases([case])[0].errors
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
