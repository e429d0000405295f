"""Texts that the model writes while it is trained."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.training.callbacks.sample_texts import SampleTexts


@pytest.mark.parametrize(("prompts", "every"), [("Once", 5), (["Once"], 0)])
def test_what_it_cannot_do_is_refused(prompts: Any, every: int) -> None:
    with pytest.raises(ConfigError) as caught:
        SampleTexts(prompts, every)
    assert repr(prompts) in caught.value.given
    assert "sample_texts {prompts:" in caught.value.fix


def test_prompts_are_continued_at_the_interval_unless_in_haste(caplog) -> None:
    caplog.set_level(logging.INFO)
    asked = []

    def generate(prompts, count, settings, seed):
        asked.append((count, settings.greedy, seed))
        return [f" {prompt}!" for prompt in prompts]

    trainer: Any = SimpleNamespace(state=SimpleNamespace(step=4), in_haste=False, generate=generate)
    callback = SampleTexts(["a", "b"], every=5, max_new_tokens=7)
    callback.on_metrics(trainer, [])
    trainer.state.step = 5
    callback.on_metrics(trainer, [])
    trainer.in_haste = True
    callback.on_metrics(trainer, [])
    assert asked == [(7, True, 5)]
    assert caplog.messages == ["step 5: a| a!", "step 5: b| b!"]
    assert not SampleTexts(["a"], temperature=0.7).settings.greedy
