"""The table of kept tensors in docs/performance.md and its translation has the list's names and figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.tiny_gpt import tiny_config
from steel_megatron.config import ModelConfig
from steel_megatron.model.block_cost import block_kept
from steel_megatron.model.cost import Kept, Sizes
from steel_megatron.model.ends_cost import embedding_kept, head_kept, micro_batch_kept

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| ([^|`]+) \| `([^`]+)` \| ", re.MULTILINE)
MODELS = [
    {},
    {"qk_layernorm": True, "hidden_dropout": 0.1},
    {"normalization": "LayerNorm", "activation": "gelu", "num_query_groups": 4},
]


def rows(page: str) -> list[tuple[str, str]]:
    """Names and formulas of the section's two tables."""
    section = (DOCS / page).read_text(encoding="utf-8").split("\n## ")
    (found,) = [ROW.findall(part) for part in section if "steel_megatron/model/activations.py" in part]
    return found


def tensors(config: ModelConfig, sizes: Sizes, tensor_parallel: int) -> list[Kept]:
    kept = block_kept(config, 0, sizes) + embedding_kept(config, sizes, tensor_parallel=tensor_parallel)
    for chunked in (False, True):
        kept += head_kept(config, sizes, chunked=chunked)
    return kept + micro_batch_kept(config, False)


@pytest.mark.parametrize("page", ["performance.md", "performance.zh-CN.md"])
def test_every_tensor_stands_there_with_its_bytes(page):
    english, formulas = zip(*rows("performance.md"), strict=True)
    assert formulas == tuple(formula for _, formula in rows(page)), "in the same order"
    table, seen = dict(zip(english, formulas, strict=True)), set()
    for options in MODELS:
        config = tiny_config(**options)
        for tensor_parallel, sequence_parallel in ((1, False), (2, False), (2, True)):
            sizes = Sizes.of(config, tensor_parallel, sequence_parallel)
            letters = {**vars(sizes), "r": sizes.share, "c": 8 if config.normalization == "LayerNorm" else 4}
            for tensor in tensors(config, sizes, tensor_parallel):
                seen.add(tensor.name)
                for width in (2, 4):
                    bytes_per_token = eval(table[tensor.name], {"w": width, **letters})
                    assert bytes_per_token == tensor.bytes(width), (tensor.name, options)
    assert seen == set(table), "no other tensor stands there"
