"""RoPE options in the spellings of transformers 4 and 5, and what is refused."""

from __future__ import annotations

import logging
import math

import pytest

from steel_megatron.config import ConfigError, ModelConfig
from steel_megatron.huggingface.rope import read_rope, write_rope

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"rope_scaling_type": "linear", "rope_scaling_factor": 2.0},
        {
            "rope_scaling_type": "llama3",
            "rope_scaling_factor": 8.0,
            "rope_scaling_low_freq_factor": 1.5,
            "rope_scaling_high_freq_factor": 5.0,
            "rope_scaling_original_max_position_embeddings": 256,
        },
        {
            "rope_scaling_type": "yarn",
            "rope_scaling_factor": 4.0,
            "rope_scaling_original_max_position_embeddings": 512,
            "rope_scaling_attention_factor": 1.25,
        },
    ],
)
@pytest.mark.parametrize("version", [4, 5])
def test_what_is_written_is_read_in_either_spelling(knobs, version):
    model = ModelConfig(rotary_base=5e5, max_position_embeddings=2048, **knobs)
    written = write_rope(model)
    for name in ("rope_theta", "rope_scaling") if version == 5 else ("rope_parameters",):
        del written[name]
    found = read_rope({"max_position_embeddings": 2048, **written})
    assert found["rotary_base"] == 5e5
    assert found["rope_scaling_type"] == model.rope_scaling_type
    assert {name: found[name] for name in knobs} == knobs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rope_scaling": {"type": "dynamic"}}, "'dynamic'"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 2.0}}, "'longrope'"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor 0.5"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}, "of its own for full_attention"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
        ({"rope_scaling": YARN | {"truncate": False}, "max_position_embeddings": 2048}, "truncate False"),
    ],
)
def test_what_is_not_implemented_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        read_rope(options)


def test_yarn_derives_what_is_not_given():
    without = {name: value for name, value in YARN.items() if name != "factor"}
    found = read_rope({"rope_scaling": without, "max_position_embeddings": 2048})
    assert found["rope_scaling_factor"] == 4.0
    mscale = read_rope({"rope_scaling": YARN | {"mscale": 1.0, "mscale_all_dim": 0.5}, "max_position_embeddings": 2048})
    expected = (0.1 * math.log(4.0) + 1.0) / (0.05 * math.log(4.0) + 1.0)
    assert mscale["rope_scaling_attention_factor"] == pytest.approx(expected)
    assert read_rope({})["rotary_base"] == 10000.0


def test_a_length_that_transformers_4_would_misread_is_told(caplog):
    knobs = {"rope_scaling_type": "yarn", "rope_scaling_factor": 4.0}
    fitting, other = (
        ModelConfig(max_position_embeddings=length, rope_scaling_original_max_position_embeddings=512, **knobs)
        for length in (2048, 1024)
    )
    with caplog.at_level(logging.WARNING):
        write_rope(fitting)
        assert not caplog.records
        write_rope(other)
    assert "1024 is not rope_scaling_factor × original length = 2048" in caplog.text
