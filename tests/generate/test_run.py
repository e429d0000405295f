"""Generation against transformers' own, with and without cache, alone and in a batch."""

from __future__ import annotations

import pytest
import torch

from helpers.gpt_of import gpt_of
from helpers.tiny_models import VOCABULARY, tiny_hf_model
from steel_megatron.config import ConfigError
from steel_megatron.generate.run import generate
from steel_megatron.generate.sampling import SamplingSettings

GREEDY = SamplingSettings(greedy=True)
PROMPTS = [[5, 9, 200, 31, 7], [77], [4, 4, 4, 150, 2, 90, 11, 13]]


@pytest.fixture(scope="module")
def llama():
    return tiny_hf_model("llama")


@pytest.fixture(scope="module")
def model(llama):
    return gpt_of(llama)


def transformers_greedy(hf_model, prompt: list[int], count: int, eos: int | None = None) -> list[int]:
    tokens = torch.tensor([prompt])
    mask = torch.ones_like(tokens)
    out = hf_model.generate(
        tokens, attention_mask=mask, max_new_tokens=count, do_sample=False, eos_token_id=eos, pad_token_id=0
    )
    return out[0, len(prompt) :].tolist()


@pytest.mark.parametrize(
    "name", ["llama", "llama_yarn", "qwen2_tied", "qwen3", "gpt2", "qwen2_all_sliding", "qwen3_sliding"]
)
def test_greedy_equals_transformers(name):
    hf_model = tiny_hf_model(name)
    expected = [transformers_greedy(hf_model, prompt, 24) for prompt in PROMPTS]
    assert generate(gpt_of(hf_model), PROMPTS, max_new_tokens=24, settings=GREEDY) == expected


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2", "qwen3_sliding"])
@pytest.mark.parametrize("settings", [GREEDY, SamplingSettings(temperature=0.9, top_k=50, top_p=0.9)])
def test_cached_equals_uncached(name, settings):
    model = gpt_of(tiny_hf_model(name))
    results = [
        generate(model, PROMPTS, max_new_tokens=20, settings=settings, seed=11, use_cache=use_cache)
        for use_cache in (True, False)
    ]
    assert results[0] == results[1]


def test_a_row_is_what_it_is_alone(model):
    together = generate(model, PROMPTS, max_new_tokens=16, settings=GREEDY)
    alone = [generate(model, [prompt], max_new_tokens=16, settings=GREEDY)[0] for prompt in PROMPTS]
    assert together == alone


def test_the_seed_decides(model):
    def sample(seed: int) -> list[list[int]]:
        return generate(model, [[3, 5], [3, 5]], max_new_tokens=16, settings=SamplingSettings(), seed=seed)

    first = sample(1)
    assert first == sample(1)
    assert first != sample(2)
    assert first[0] != first[1]  # each row has its own stream


def test_a_row_ends_with_a_stop_id_and_the_others_go_on(llama, model):
    expected = transformers_greedy(llama, PROMPTS[0], 20)
    stop = expected[6]
    results = generate(model, PROMPTS[:2], max_new_tokens=20, settings=GREEDY, stop_ids=[stop])
    assert results[0] == transformers_greedy(llama, PROMPTS[0], 20, eos=stop) == expected[: expected.index(stop) + 1]
    assert results[1] == transformers_greedy(llama, PROMPTS[1], 20, eos=stop)


def test_tokens_are_told_as_they_come(model):
    seen: list[tuple[int, int]] = []
    results = generate(
        model, PROMPTS, max_new_tokens=5, settings=GREEDY, on_token=lambda row, token: seen.append((row, token))
    )
    assert [row for row, _ in seen] == [0, 1, 2] * 5
    assert [[token for row, token in seen if row == wanted] for wanted in range(3)] == results


def test_bf16_stays_in_the_vocabulary(llama):
    results = generate(gpt_of(llama, torch.bfloat16), PROMPTS, max_new_tokens=12, settings=SamplingSettings())
    assert all(0 <= token < VOCABULARY for row in results for token in row)


@pytest.mark.parametrize(
    ("prompts", "count", "message"),
    [([[1], []], 4, "empty prompt"), ([[1, VOCABULARY]], 4, "211"), ([[1]], 0, "max-new-tokens")],
)
def test_what_cannot_be_continued_is_refused(model, prompts, count, message):
    with pytest.raises(ConfigError, match=message):
        generate(model, prompts, max_new_tokens=count, settings=GREEDY)


def test_learned_positions_end():
    model = gpt_of(tiny_hf_model("gpt2"))
    full = generate(model, [[1] * 90], max_new_tokens=6, settings=GREEDY)
    assert len(full[0]) == 6
    with pytest.raises(ConfigError, match="96 positions"):
        generate(model, [[1] * 90], max_new_tokens=7, settings=GREEDY)
