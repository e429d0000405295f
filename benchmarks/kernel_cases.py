"""The operations that ``benchmarks/kernels.py`` times: one function per operation, and a table of them at the end.

A new kernel is a function from a :class:`Shape` to its :class:`Case` objects, and a line in :data:`CASES`. Its bytes
are those that it must read and write at least once, by tensors; what it computes again or keeps in registers is free.
"steel" is the operation of ``steel_megatron.ops`` as the model calls it, under ``--kernel-backend steel``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.optim.adamw import adamw

from steel_megatron.ops import activation, cross_entropy, embedding, norm, rope, scaled_matmul
from steel_megatron.ops.native import optimizer

Call = Callable[[], object]
Function = Callable[..., Any]


@dataclass(frozen=True)
class Shape:
    """T tokens, H hidden, F ffn, V vocabulary; type of the tensors."""

    device: str
    tokens: int
    hidden: int
    ffn: int
    vocab: int
    dtype: torch.dtype

    def random(self, *size: int) -> Tensor:
        return torch.randn(size, device=self.device, dtype=self.dtype)


@dataclass
class Case:
    """An operation: its calls by contender ("steel", "torch", "compile"), and the bytes that it has to move."""

    name: str
    moved: int
    calls: dict[str, Call] = field(default_factory=dict)


def two_cases(
    name: str, inputs: Sequence[Tensor], contenders: dict[str, Function], forward_bytes: int, backward_bytes: int
) -> list[Case]:
    """Forward without autograd, and the backward pass alone, which starts from gradients of all outputs."""
    with torch.no_grad():
        grads = [torch.randn_like(output) for output in outputs_of(contenders["torch"], inputs)]
    forward, backward = Case(name, forward_bytes), Case(f"{name}, backward", backward_bytes)
    for contender, function in contenders.items():
        forward.calls[contender] = lambda function=function: function(*inputs)
        backward.calls[contender] = backward_of(function, inputs, grads)
    return [forward, backward]


def backward_of(function: Function, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> Call:
    """The backward pass of a function. Its forward pass runs at the first call, so that nothing is kept before."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    outputs: list[Tensor] = []

    def call() -> object:
        if not outputs:
            with torch.enable_grad():
                outputs.extend(outputs_of(function, leaves))
        return torch.autograd.grad(outputs, leaves, grads, retain_graph=True)

    return call


def compiled(function: Function) -> Function:
    """Under torch.compile from its first call on: the compiler alone takes seconds to load."""
    made: list[Function] = []

    def call(*inputs: Tensor) -> Any:
        if not made:
            made.append(torch.compile(function))
        return made[0](*inputs)

    return call


def outputs_of(function: Function, inputs: Sequence[Tensor]) -> list[Tensor]:
    """One tensor or several, as a list."""
    result = function(*inputs)
    return list(result) if isinstance(result, tuple) else [result]


def copy(shape: Shape) -> list[Case]:
    """What all others are held against: a tensor as large as the MLP's input, copied by torch."""
    source = shape.random(shape.tokens, 2 * shape.ffn)
    target = torch.empty_like(source)
    return [Case("copy", 2 * source.nbytes, {"torch": lambda: target.copy_(source)})]


def norms(shape: Shape) -> list[Case]:
    """RMSNorm and LayerNorm: forward reads x and writes y; backward reads x and the gradient and writes one.

    With the residual addition forward reads two and writes two; backward reads two gradients and the sum, and writes
    one gradient for both.
    """
    x, residual = (shape.random(shape.tokens, shape.hidden) for _ in range(2))
    weight, bias = (torch.full_like(shape.random(shape.hidden), value) for value in (1.0, 0.0))

    def rms(x: Tensor, w: Tensor) -> Tensor:
        return F.rms_norm(x, w.shape, w, 1e-5)

    def layer(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.layer_norm(x, w.shape, w, b, 1e-5)

    cases = []
    for name, plain, ours, adding, parameters in (
        ("RMSNorm", rms, norm.rms_norm, norm.add_rms_norm, [weight]),
        ("LayerNorm", layer, norm.layer_norm, norm.add_layer_norm, [weight, bias]),
    ):
        contenders: dict[str, Function] = {
            "steel": lambda *inputs, ours=ours: ours(*inputs, 1e-5),
            "torch": plain,
            "compile": compiled(plain),
        }
        cases += two_cases(name, [x, *parameters], contenders, 2 * x.nbytes, 3 * x.nbytes)

        def plain_sum(x: Tensor, r: Tensor, *parameters: Tensor, plain: Function = plain) -> tuple[Tensor, Tensor]:
            total = x + r
            return plain(total, *parameters), total

        contenders = {
            "steel": lambda *inputs, adding=adding: adding(*inputs, 1e-5),
            "torch": plain_sum,
            "compile": compiled(plain_sum),
        }
        cases += two_cases(f"add + {name}", [x, residual, *parameters], contenders, 4 * x.nbytes, 4 * x.nbytes)
    return cases


def rotary(shape: Shape) -> list[Case]:
    """From a projection to its heads: queries and keys are read and written; backward also brings the values' gradient.

    Ours turns them where they are, again at every call.
    """
    size = 64 if shape.hidden % 64 == 0 else 32
    projected = shape.random(1, shape.tokens, 3 * shape.hidden)
    angles = torch.randn(1, shape.tokens, 1, size // 2, device=shape.device)
    cosine, sine = angles.cos(), angles.sin()
    by = rope.Rotation(cosine, sine)

    def turned(x: Tensor) -> Tensor:
        first, second = x.float().chunk(2, -1)
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1).to(x.dtype)

    def plain(projected: Tensor) -> tuple[Tensor, ...]:
        q, k, v = (part.unflatten(-1, (-1, size)) for part in projected.chunk(3, dim=-1))
        return turned(q), turned(k), v

    contenders: dict[str, Function] = {
        "steel": lambda projected: rope.rotate_heads_(projected, by, [shape.hidden] * 3, size),
        "torch": plain,
        "compile": compiled(plain),
    }
    return two_cases("RoPE", [projected], contenders, 2 * (projected.nbytes * 2 // 3), 2 * projected.nbytes)


def swiglu(shape: Shape) -> list[Case]:
    """Forward reads gate and up and writes half as much; backward reads both again and that much, and writes both."""
    gate_up = shape.random(shape.tokens, 2 * shape.ffn)

    def plain(gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate) * up

    contenders: dict[str, Function] = {
        "steel": lambda gate_up: activation.activate(gate_up, "swiglu"),
        "torch": plain,
        "compile": compiled(plain),
    }
    return two_cases("SwiGLU", [gate_up], contenders, gate_up.nbytes * 3 // 2, gate_up.nbytes * 5 // 2)


def plain_activations(shape: Shape) -> list[Case]:
    """Forward reads x and writes y; backward reads x and the gradient and writes one."""
    x, cases = shape.random(shape.tokens, shape.ffn), []
    for name, title in (("gelu", "GELU"), ("gelu_tanh", "GELU by tanh"), ("squared_relu", "squared ReLU")):
        plain = activation.activation_of(name).function
        contenders: dict[str, Function] = {
            "steel": lambda x, name=name: activation.activate(x, name),
            "torch": plain,
            "compile": compiled(plain),
        }
        cases += two_cases(title, [x], contenders, 2 * x.nbytes, 3 * x.nbytes)
    return cases


def cross_entropies(shape: Shape) -> list[Case]:
    """Forward reads the logits; backward reads them and writes their gradient, ours in place."""
    logits, vocab = shape.random(shape.tokens, shape.vocab), shape.vocab
    labels = torch.randint(0, vocab, (shape.tokens,), device=shape.device)
    ones = torch.ones(shape.tokens, device=shape.device)
    partition, _ = cross_entropy.statistics(logits, labels, 0, vocab)
    scratch = logits.clone()

    def plain(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), labels, reduction="none")

    contenders: dict[str, Function] = {"torch": plain, "compile": compiled(plain)}
    forward, backward = two_cases("cross entropy", [logits], contenders, logits.nbytes, 2 * logits.nbytes)
    forward.calls["steel"] = lambda: cross_entropy.statistics(logits, labels, 0, vocab)
    # Over what the call before wrote: the time does not depend on the values.
    backward.calls["steel"] = lambda: cross_entropy.gradient_over_logits(
        scratch, labels, partition, ones, ones, 0, vocab
    )
    return [forward, backward]


def layer_matrices(shape: Shape) -> list[tuple[int, ...]]:
    """Shapes of the parameters of eight layers."""
    hidden, ffn = shape.hidden, shape.ffn
    return [(3 * hidden, hidden), (hidden, hidden), (2 * ffn, hidden), (hidden, ffn), (hidden,)] * 8


def adamw_step(shape: Shape) -> list[Case]:
    """Per element: fp32 master and two moments read and written, fp32 gradient read, bf16 weight written: 30 bytes.

    With both moments in bf16 22 bytes; torch's fused AdamW has no such thing beside an fp32 master.
    """
    sizes = layer_matrices(shape)
    masters, grads, exp_avgs = ([torch.randn(size, device=shape.device) for size in sizes] for _ in range(3))
    squares = [torch.rand(size, device=shape.device) for size in sizes]
    weights = [master.bfloat16() for master in masters]
    steps = [torch.zeros((), device=shape.device) for _ in sizes]
    divisor = torch.full((), 2.0, device=shape.device)
    scale = torch.full((), 0.5, dtype=torch.float64, device=shape.device)
    settings = {"lr": 1e-4, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1}

    def torch_step() -> None:
        adamw(
            masters,
            grads,
            exp_avgs,
            squares,
            [],
            steps,
            fused=True,
            grad_scale=divisor,
            amsgrad=False,
            eps=1e-8,
            maximize=False,
            **settings,
        )
        for weight, master in zip(weights, masters, strict=True):
            weight.copy_(master)

    def steel_step(moments: Sequence[list[Tensor]], places: list[int]) -> Call:
        states, decays = (weights, masters, grads, *moments), [True] * len(sizes)
        return lambda: optimizer.adamw_(*states, decays, places=places, scale=scale, epsilon=1e-8, step=10, **settings)

    elements = sum(math.prod(size) for size in sizes)
    halves = [[moment.bfloat16() for moment in moments] for moments in (exp_avgs, squares)]
    places = [number for key, size in enumerate(sizes) for number in (key, 0, 0, size[-1])]
    calls: dict[str, Call] = {"steel": steel_step([exp_avgs, squares], []), "torch": torch_step}
    return [
        Case("AdamW, fp32 master and bf16 weight", 30 * elements, calls),
        Case("AdamW, bf16 moments", 22 * elements, {"steel": steel_step(halves, places)}),
    ]


def embedding_gradient(shape: Shape) -> list[Case]:
    """Gradients of all tokens are read; rows of the fp32 buffer that are looked up are read and written."""
    grad = shape.random(shape.tokens, shape.hidden)
    ids = torch.randint(0, shape.vocab, (shape.tokens,), device=shape.device)
    target = torch.zeros(shape.vocab, shape.hidden, device=shape.device)

    def plain() -> None:
        """Deterministic on both kinds of device."""
        if target.is_cuda:
            target.index_put_((ids,), grad.float(), accumulate=True)
        else:
            target.index_add_(0, ids, grad.float())

    rows = ids.unique().numel() * shape.hidden * target.element_size()
    calls: dict[str, Call] = {"steel": lambda: embedding.add_rows(target, grad, ids), "torch": plain}
    return [Case("embedding's gradient", grad.nbytes + ids.nbytes + 2 * rows, calls)]


def gradient_norm(shape: Shape) -> list[Case]:
    """fp32 gradients are read."""
    grads = [torch.randn(size, device=shape.device) for size in layer_matrices(shape)]
    calls: dict[str, Call] = {
        "steel": lambda: optimizer.sum_of_squares(grads).sqrt(),
        "torch": lambda: torch.nn.utils.get_total_norm(grads),
    }
    return [Case("gradient norm", sum(grad.nbytes for grad in grads), calls)]


def rounding_to_8_bits(shape: Shape) -> list[Case]:
    """The scale depends on all elements, so they are read twice; E4M3 is written by rows and transposed. GPU only."""
    if shape.device == "cpu" or shape.tokens % 16 or shape.ffn % 16:
        return []
    x = shape.random(shape.tokens, shape.ffn)

    def plain(x: Tensor) -> tuple[Tensor, Tensor]:
        rows = (x.float() * (448.0 / x.abs().amax().float())).to(torch.float8_e4m3fn)
        return rows, rows.t().contiguous()

    calls: dict[str, Call] = {
        "steel": lambda: scaled_matmul.quantise_both(x, torch.float8_e4m3fn, scaled_matmul.largest_magnitude(x)),
        "torch": lambda: plain(x),
    }
    fused = compiled(plain)
    calls["compile"] = lambda: fused(x)
    return [Case("rounding to 8 bits", 2 * x.nbytes + 2 * x.numel(), calls)]


CASES: list[Callable[[Shape], list[Case]]] = [
    copy,
    norms,
    rotary,
    swiglu,
    plain_activations,
    cross_entropies,
    embedding_gradient,
    adamw_step,
    gradient_norm,
    rounding_to_8_bits,
]
