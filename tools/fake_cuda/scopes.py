"""Which part of the model an operation belongs to, in forward, recomputed and backward passes.

A module's forward pass opens its scope. The autograd nodes that were made in it carry its name, so that a backward
operation belongs where its forward did.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._pytree import tree_leaves

from steel_megatron.model.attention.layer import Attention
from steel_megatron.model.block import Block
from steel_megatron.model.cost import ACTIVATION, HEADS, LINEAR
from steel_megatron.model.embedding import Embedding, Head
from steel_megatron.model.ffn.mlp import MLP
from steel_megatron.model.gpt import GPT
from steel_megatron.model.norm import Norm
from steel_megatron.parallel.tensor.layers import ColumnParallelLinear, RowParallelLinear

KEY = "fake_cuda_scope"  # in a node's metadata
NORM, EMBEDDING, CROSS_ENTROPY, OTHER = "residual + norm", "embedding", "cross entropy", "other"
SCOPES: list[tuple[type[nn.Module], str]] = [
    (ColumnParallelLinear, LINEAR),
    (RowParallelLinear, LINEAR),
    (Head, LINEAR),
    (Attention, HEADS),
    (MLP, ACTIVATION),
    (Block, NORM),
    (Embedding, EMBEDDING),
    (GPT, CROSS_ENTROPY),
]


class Scopes:
    """The scopes that are open in this process."""

    def __init__(self) -> None:
        self.open: list[str] = []

    @property
    def current(self) -> str:
        """The innermost scope: of the running module, else of the node whose backward pass runs."""
        if self.open:
            return self.open[-1]
        node = torch._C._current_autograd_node()
        return OTHER if node is None else _metadata(node).get(KEY, OTHER)

    @contextlib.contextmanager
    def within(self, name: str) -> Iterator[None]:
        """A scope around what is no module."""
        self.open.append(name)
        try:
            yield
        finally:
            self.open.pop()

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Opens and closes scopes with the modules that run inside."""
        before = register_module_forward_pre_hook(self._enter)
        after = register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def wrap(self, holder: Any, name: str, scope: str) -> Callable[[], None]:
        """Makes a function of a class or module a scope; what is returned undoes it."""
        function = getattr(holder, name)

        def scoped(*arguments: Any, **named: Any) -> Any:
            with self.within(scope):
                result = function(*arguments, **named)
            mark(_tensors(result), scope, _tensors((arguments, named)))
            return result

        setattr(holder, name, scoped)
        return lambda: setattr(holder, name, function)

    def _name(self, module: nn.Module) -> str:
        if isinstance(module, Norm):
            return HEADS if self.open and self.open[-1] == HEADS else NORM
        inherited = self.open[-1] if self.open else OTHER
        return next((name for kind, name in SCOPES if isinstance(module, kind)), inherited)

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self.open.append(self._name(module))

    def _leave(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        mark(_tensors(outputs), self.open.pop(), _tensors(inputs))


def mark(outputs: list[Tensor], name: str, inputs: list[Tensor]) -> None:
    """Names the autograd nodes between some tensors, but for those that have a name."""
    # Torch makes a node's Python object anew when none is held: the list holds those whose ids are compared.
    held = [tensor.grad_fn for tensor in inputs if tensor.grad_fn is not None]
    seen = {id(node) for node in held}
    waiting = [tensor.grad_fn for tensor in outputs if tensor.grad_fn is not None]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        held.append(node)
        _metadata(node).setdefault(KEY, name)
        waiting += [following for following, _ in node.next_functions if following is not None]


def _metadata(node: Any) -> dict[str, str]:
    """What may be kept at an autograd node."""
    return cast("dict[str, str]", node.metadata)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
