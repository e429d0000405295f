"""AdamW and the sum of squares over many tensors against fp64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.kernels import DEVICES, close, instruction_sets, needs_cpu_kernels, random
from steel_megatron.ops.native import library
from steel_megatron.ops.native.optimizer import CHUNK, adamw_, sum_of_squares

SIZES = st.lists(st.sampled_from([0, 1, 7, 33, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5]), max_size=5)
NUMBERS = {"scale": 0.25, "lr": 1e-2, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1, "step": 3}


def scale_on(device, value=NUMBERS["scale"]):
    return torch.tensor(value, dtype=torch.float64, device=device)


def adamw(parameters, masters, *more, scale=None, places=(), **numbers):
    """The operation with the numbers above."""
    scale = scale_on(masters[0].device if masters else "cpu") if scale is None else scale
    adamw_(parameters, masters, *more, places=list(places), **NUMBERS | numbers | {"scale": scale})


def exact_adamw(master, grad, exp_avg, exp_avg_sq, decays, scale, lr, beta1, beta2, epsilon, weight_decay, step):
    g = grad * scale
    exp_avg = beta1 * exp_avg + (1 - beta1) * g
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g * g
    denominator = (exp_avg_sq / (1 - beta2**step)).sqrt() + epsilon
    kept = master * (1 - lr * weight_decay * decays)
    return kept - lr * exp_avg / (1 - beta1**step) / denominator, exp_avg, exp_avg_sq


def states(sizes, device):
    """Masters, gradients and moments, fp32."""
    kinds = [[random((n,), torch.float32, device, 4 * n + k) for n in sizes] for k in range(4)]
    kinds[3] = [v.square() for v in kinds[3]]
    return kinds


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=25, deadline=None)
@given(
    sizes=SIZES,
    dtype=st.sampled_from([None, torch.float32, torch.bfloat16, torch.float16]),
    moments=st.tuples(*[st.sampled_from([torch.float32, torch.bfloat16])] * 2),
    columns=st.sampled_from([1, 3, 40, 20000]),
    data=st.data(),
)
def test_adamw(device, sizes, dtype, moments, columns, data):
    masters, grads, exp_avgs, exp_avg_sqs = states(sizes, device)
    exp_avgs, exp_avg_sqs = (
        [t.to(moment) for t in ts] for ts, moment in zip((exp_avgs, exp_avg_sqs), moments, strict=True)
    )
    decays = data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    expected = [
        exact_adamw(*(t.double() for t in tensors), decay, **NUMBERS)
        for *tensors, decay in zip(masters, grads, exp_avgs, exp_avg_sqs, decays, strict=True)
    ]
    parameters = [] if dtype is None else [torch.empty_like(master, dtype=dtype) for master in masters]
    places = [number for n in range(len(sizes)) for number in (n, 5, 7, columns)]
    adamw(parameters, masters, grads, exp_avgs, exp_avg_sqs, decays, places=places)
    for found, exact in zip(zip(masters, exp_avgs, exp_avg_sqs, strict=True), expected, strict=True):
        for ours, theirs in zip(found, exact, strict=True):
            # Stochastic rounding goes to either neighbour: a whole unit in the last place, not half of it.
            close(ours, theirs, factor=1.0 if ours.dtype == torch.float32 else 2.1, absolute=1e-7)
    for parameter, master in zip(parameters, masters if parameters else [], strict=True):
        assert torch.equal(parameter, master.to(parameter.dtype))


@pytest.mark.parametrize("device", DEVICES)
def test_a_scale_that_is_not_a_number_changes_nothing(device):
    kinds = states([CHUNK + 5, 7], device)
    before = [[tensor.clone() for tensor in kind] for kind in kinds]
    weights = [torch.ones_like(master, dtype=torch.bfloat16) for master in kinds[0]]
    adamw(weights, *kinds, [True, False], scale=scale_on(device, math.nan))
    assert all(
        torch.equal(*pair) for kind, old in zip(kinds, before, strict=True) for pair in zip(kind, old, strict=True)
    )
    assert all((weight == 1).all() for weight in weights)


@needs_cpu_kernels
def test_a_tensor_cut_in_rows_gets_the_same_numbers():
    whole, parts = states([5000], "cpu"), states([5000], "cpu")
    cut = [[*kind[0].split([1237, 3763])] for kind in parts]
    found = []
    for kinds in (whole, cut):
        adamw([], *kinds, [True] * len(kinds[0]))
        found.append([torch.cat(kind) for kind in kinds])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=25, deadline=None)
@given(sizes=SIZES.filter(bool))
def test_sum_of_squares(device, sizes):
    tensors = states(sizes, device)[0]
    expected = sum(float(t.double().square().sum()) for t in tensors)
    assert math.isclose(sum_of_squares(tensors).item(), expected, rel_tol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_one_element_that_is_not_finite_shows(device, value):
    tensors = states([3 * CHUNK + 5, 17], device)[0]
    tensors[0][2 * CHUNK + 3] = value
    assert not math.isfinite(sum_of_squares(tensors).item())


@pytest.mark.parametrize("kernels", instruction_sets(), ids=lambda module: module.__name__)
def test_every_instruction_set(monkeypatch, kernels):
    monkeypatch.setattr(library, "cpu_module", lambda: kernels)
    kinds = states([100], "cpu")
    (expected,) = (exact_adamw(*(t.double() for t in kind), 1.0, **NUMBERS) for kind in zip(*kinds, strict=True))
    assert math.isclose(sum_of_squares(kinds[0]).item(), float(kinds[0][0].double().square().sum()), rel_tol=1e-12)
    adamw([], *kinds, [True])
    close(kinds[0][0], expected[0], absolute=1e-7)


@needs_cpu_kernels
def test_results_do_not_depend_on_threads():
    threads, found = torch.get_num_threads(), []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        kinds = states([3 * CHUNK + 5, 17], "cpu")
        total = sum_of_squares(kinds[0])
        adamw([], *kinds, [True, False])
        found.append([total, *kinds[0]])
    torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@needs_cpu_kernels
def test_operations_trace_and_refuse():
    kinds = states([5, 8], "cpu")
    torch.library.opcheck(sum_of_squares, (kinds[0],))
    torch.library.opcheck(adamw_, ([], *kinds, [True, False], [], scale_on("cpu"), *list(NUMBERS.values())[1:]))
    with pytest.raises(ValueError, match="contiguous"):
        sum_of_squares([torch.ones(4, 4).t()])
    with pytest.raises(ValueError, match="float64"):
        sum_of_squares([torch.ones(4, dtype=torch.float64)])
    with pytest.raises(ValueError, match="it is fp64"):
        adamw([], *kinds, [True, False], scale=scale_on("cpu").float())
    with pytest.raises(ValueError, match="1 tensors beside 2"):
        adamw([], kinds[0], kinds[1][:1], *kinds[2:], [True, False])


def emulated_optimizer(dtype: torch.dtype) -> list[Tensor]:
    sizes = (2 * CHUNK + 5, 300)
    masters, grads, exp_avgs, squares = (
        [random((n,), torch.float32, "cpu", 4 * n + k) for n in sizes] for k in range(4)
    )
    parameters = [torch.empty(n, dtype=dtype) for n in sizes]
    moments = [m.bfloat16() for m in exp_avgs], [v.square() for v in squares]
    scale = torch.tensor(0.5, dtype=torch.float64)
    places = [7, 0, 0, 40] * len(sizes)
    numbers = (1e-2, 0.9, 0.95, 1e-8, 0.1, 3)
    adamw_(parameters, masters, grads, *moments, [True, False], places, scale, *numbers)
    return [*parameters, *masters, *moments[0], *moments[1], sum_of_squares(grads)]
