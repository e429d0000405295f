"""Generation from a model that is split over ranks gives what the whole model gives."""

from __future__ import annotations

import pytest
import torch

from helpers.processes import run_processes
from helpers.tiny_gpt import VOCABULARY, tiny_config
from steel_megatron.config import ConfigError, ModelConfig, ParallelConfig
from steel_megatron.generate.in_training import generate_in_training
from steel_megatron.generate.run import generate
from steel_megatron.generate.sampling import SamplingSettings
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.grid import Grid

PROMPTS = [[5, 9, 31, 7], [77], [4, 4, 4, 50, 2, 90, 11]]
SETTINGS = [SamplingSettings(greedy=True), SamplingSettings(temperature=1.2, top_k=20)]
LAYERS = 4


def config_of(**options: object) -> ModelConfig:
    # Large weights: the likeliest token is the likeliest by far, whatever order the sums are in.
    return tiny_config(num_layers=LAYERS, init_method_std=0.4, make_vocab_size_divisible_by=1, **options)


def expected(config: ModelConfig) -> list[list[list[int]]]:
    model = GPT(config, Grid.single(), dtype=torch.float32, seed=3)
    return [generate(model, PROMPTS, max_new_tokens=12, settings=settings, seed=5) for settings in SETTINGS]


def of_rank(config: ModelConfig, tp: int, pp: int, sequence_parallel: bool, chunks: int) -> list[list[list[int]]]:
    parallel = ParallelConfig(
        tensor_model_parallel_size=tp, pipeline_model_parallel_size=pp, sequence_parallel=sequence_parallel
    )
    grid = Grid.create(parallel) if tp * pp > 1 else Grid.single()
    stages = pp * chunks
    each = LAYERS // stages
    model = [
        GPT(
            config,
            grid,
            dtype=torch.float32,
            layers=range(stage * each, (stage + 1) * each),
            first=stage == 0,
            last=stage == stages - 1,
            seed=3,
        )
        for stage in range(grid.pp.rank, stages, pp)
    ]
    found = [
        generate_in_training(model, grid, PROMPTS, max_new_tokens=12, settings=settings, seed=5)
        for settings in SETTINGS
    ]
    assert all(chunk.training for chunk in model)
    return found


@pytest.mark.parametrize(
    ("tp", "pp", "sequence_parallel", "chunks"),
    [(1, 1, False, 1), (2, 1, True, 1), (1, 2, False, 2), (2, 2, True, 1)],
    ids=["alone", "tp with sequence parallel", "interleaved", "tp and pp"],
)
def test_every_layout_gives_the_same_text(tp, pp, sequence_parallel, chunks):
    config = config_of(position_embedding_type="learned_absolute" if pp == 2 else "rope")
    texts = expected(config)
    assert len({tuple(text) for text in texts[0]}) == len(PROMPTS)
    for found in run_processes(of_rank, tp * pp, config, tp, pp, sequence_parallel, chunks):
        assert found == texts


def test_a_text_ends_at_a_stop_token_and_within_a_sample():
    config = config_of()
    model = GPT(config, Grid.single(), dtype=torch.float32, seed=3)
    more = {"max_new_tokens": 12, "settings": SETTINGS[0]}
    whole = generate_in_training([model], model.grid, PROMPTS, **more)
    stop = whole[0][4]
    stopped = generate_in_training([model], model.grid, PROMPTS, stop_ids=[stop], **more)
    assert stopped[0] == whole[0][: whole[0].index(stop) + 1]
    with pytest.raises(ConfigError, match="at most 16 positions"):
        generate_in_training([model], model.grid, PROMPTS, longest=16, **more)
    with pytest.raises(ConfigError, match=str(VOCABULARY)):
        generate_in_training([model], model.grid, [[VOCABULARY]], **more)
    with pytest.raises(ConfigError, match="empty prompt"):
        generate_in_training([model], model.grid, [[]], **more)
