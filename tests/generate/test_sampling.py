"""Filters against transformers' logits processors; draws against the probabilities they shall have."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from steel_megatron.config import ConfigError
from steel_megatron.generate.sampling import Sampler, SamplingSettings, filter_logits


@given(
    temperature=st.floats(0.1, 5.0),
    top_k=st.integers(1, 60),
    top_p=st.floats(0.01, 0.999),
    penalty=st.floats(0.5, 3.0),
    seed=st.integers(0, 1000),
)
def test_filters_equal_those_of_transformers(temperature, top_k, top_p, penalty, seed):
    generator = torch.Generator().manual_seed(seed)
    logits_BV = 4 * torch.randn(3, 50, generator=generator)
    tokens_BS = torch.randint(0, 50, (3, 8), generator=generator)
    processors = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(penalty),
            TemperatureLogitsWarper(temperature),
            TopKLogitsWarper(top_k),
            TopPLogitsWarper(top_p),
        ]
    )
    expected = processors(tokens_BS, logits_BV.clone())
    settings = SamplingSettings(temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=penalty)
    before = logits_BV.clone()
    torch.testing.assert_close(filter_logits(logits_BV, settings, list(tokens_BS)), expected, rtol=0, atol=0)
    assert torch.equal(logits_BV, before)


def test_without_filters_the_logits_are_as_they_were():
    logits_BV = torch.randn(2, 9)
    assert torch.equal(filter_logits(logits_BV, SamplingSettings()), logits_BV)


def test_draws_have_the_probabilities_of_the_logits():
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.2, 0.0])
    sampler = Sampler(SamplingSettings(), seed=3, rows=2)
    draws = torch.stack([sampler(probabilities.log().expand(2, 5)) for _ in range(4000)])
    for row in draws.T:
        shares = row.bincount(minlength=5) / len(row)
        # Four standard deviations of a share of 4000 draws are 0.032 at most.
        torch.testing.assert_close(shares, probabilities, atol=0.032, rtol=0)
        assert shares[1] == shares[4] == 0.0
    assert not torch.equal(draws[:, 0], draws[:, 1])


def test_a_row_draws_the_same_whatever_stands_beside_it():
    logits_BV = torch.randn(3, 40)
    alone, beside = (Sampler(SamplingSettings(), seed=5, rows=rows) for rows in (1, 3))
    assert [alone(logits_BV[:1]).item() for _ in range(20)] == [beside(logits_BV)[0].item() for _ in range(20)]


def test_greedy_takes_the_likeliest():
    logits_BV = torch.randn(4, 30)
    assert torch.equal(Sampler(SamplingSettings(greedy=True), 0, 4)(logits_BV), logits_BV.argmax(-1))


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}, {"repetition_penalty": 0.0}]
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong)).replace("_", "-")):
        SamplingSettings(**wrong)
