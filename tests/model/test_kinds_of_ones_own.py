"""A kind of attention and one of feed-forward from a file of one's own: all that reads layers reads them."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
import torch

from helpers.tiny_gpt import random_tokens, tiny_config, tiny_gpt
from steel_megatron.cli.main import main
from steel_megatron.config import ConfigError
from steel_megatron.model.attention.cache import KVCache
from steel_megatron.model.flops import model_flops

NEAR = """
import dataclasses

from steel_megatron.model.attention.kinds import FullAttention
from steel_megatron.model.ffn.kinds import Dense


class Near(FullAttention):
    def window(self, model):
        return 4


class Wide(Dense):
    def build(self, model, layer, grid, **more):
        return super().build(self.twice(model), layer, grid, **more)

    def parameters(self, model):
        return super().parameters(self.twice(model))

    def flops(self, model, seq_length):
        return super().flops(self.twice(model), seq_length)

    def twice(self, model):
        return dataclasses.replace(model, ffn_hidden_size=2 * model.ffn_hidden_size)


thing = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "near.py"
    path.write_text(NEAR)
    return path


def test_a_kind_that_looks_through_a_window_of_its_own(file):
    own = tiny_config(num_layers=3, layer_types=(f"{file}:Near", "full_attention"))
    shipped = dataclasses.replace(own, layer_types=("sliding_attention", "full_attention"), window_size=4)
    tokens = random_tokens(2, 12)
    with torch.no_grad():
        found, expected = (tiny_gpt(config)(tokens) for config in (own, shipped))
    assert torch.equal(found, expected)
    assert model_flops(own, 12) == model_flops(shipped, 12)
    model = tiny_gpt(own)
    cache = KVCache(own, model.grid, batch=2, capacity=12, dtype=torch.float32)
    assert cache.kept == [3, 12, 3]
    with torch.no_grad():
        steps = [model(tokens[:, :7], cache=cache), *(model(tokens[:, i : i + 1], cache=cache) for i in range(7, 12))]
    torch.testing.assert_close(torch.cat(steps, 1), found, rtol=1e-4, atol=1e-5)


def test_a_kind_of_feed_forward(file, capsys):
    config = tiny_config(num_layers=2, mlp_layer_types=("dense", f"{file}:Wide"))
    first, second = (block.mlp.down.weight.shape[1] for block in tiny_gpt(config).blocks)
    assert second == 2 * first
    kinds = ["--mlp-layer-types", "dense", f"{file}:Wide"]
    assert main(["plan", "--preset", "steel_1b", *kinds]) == 0
    output = capsys.readouterr().out
    assert f"full_attention, {file}:Wide" in output
    assert f"{1_122_249_216 + 9 * 3 * 2048 * 5632:,}" in output


@pytest.mark.parametrize("page", ["models.md", "models.zh-CN.md"])
def test_the_page_s_kind(page, tmp_path, monkeypatch, capsys):
    """As it is written there: the file, then the command."""
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    code, command = re.search(r"```python\n(.*?)```\s+```bash\nsteel (.*?)\n```", text, re.DOTALL).groups()
    monkeypatch.chdir(tmp_path)
    Path("near.py").write_text(code)
    assert main(shlex.split(command)) == 0
    assert re.search(r"near.py:Near, dense +9 ", capsys.readouterr().out)


@pytest.mark.parametrize(("what", "message"), [("thing", "a class like FullAttention"), ("Nothing", "there is no")])
def test_what_is_no_kind_is_refused(file, what, message):
    config = tiny_config(layer_types=(f"{file}:{what}",))
    with pytest.raises(ConfigError, match=message):
        tiny_gpt(config)
