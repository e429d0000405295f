"""The least traffic, by its table."""

from __future__ import annotations

from fake_cuda.least_traffic import OPTIMIZER, ZERO, micro_batch_traffic, step_traffic
from fake_cuda.scopes import CROSS_ENTROPY, EMBEDDING, NORM
from helpers.tiny_gpt import tiny_config
from steel_megatron.model.cost import ACTIVATION, LINEAR, Sizes
from steel_megatron.parallel.pipeline.layout import StageLayers

TOKENS, WIDTH = 10, 2


def traffic(part: StageLayers):
    return micro_batch_traffic(tiny_config(), Sizes.of(tiny_config(), seq_length=5), part, TOKENS, WIDTH)


def test_stages_have_what_the_whole_model_has_but_for_the_sums_between_them() -> None:
    whole = traffic(StageLayers(0, range(2), first=True, last=True))
    first, last = (
        traffic(StageLayers(0, range(1), first=True, last=False)),
        traffic(StageLayers(0, range(1, 2), first=False, last=True)),
    )
    for kind in (ACTIVATION, CROSS_ENTROPY, EMBEDDING):
        assert whole[kind] == first[kind] + last[kind] > 0, kind
    assert whole[CROSS_ENTROPY] == 3 * 128 * TOKENS * WIDTH
    assert whole[ACTIVATION] == 2 * 8 * 48 * TOKENS * WIDTH
    assert first[NORM] + last[NORM] - whole[NORM] == (3 - 2) * 32 * TOKENS * WIDTH
    assert LINEAR not in whole


def test_a_step_reads_gradients_masters_and_moments_once() -> None:
    found = step_traffic(buffered=100, updated=50, width=2, moments=8)
    assert found[ZERO] == 400
    assert found[OPTIMIZER] == 50 * (4 + 4 + 8 + 16 + 2)
    assert step_traffic(100, 50, 4, 8)[OPTIMIZER] == 50 * (4 + 4 + 0 + 16 + 8)  # fp32 weights are their own masters
    assert step_traffic(100, 50, 2, 8, block_matrices=10)[LINEAR] == 60
