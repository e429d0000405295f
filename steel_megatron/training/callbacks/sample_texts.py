"""Texts that the model writes while it is trained: ``--callback 'sample_texts {prompts: [Once], every: 500}'``."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from steel_megatron.config import ConfigError
from steel_megatron.generate.sampling import SamplingSettings
from steel_megatron.training.intervals import every as at_every
from steel_megatron.training.loop import Callback, Metrics, Trainer

log = logging.getLogger(__name__)


class SampleTexts(Callback):
    """Continues some prompts every so many steps, into the log.

    Args:
        prompts: texts that are continued.
        every: steps between two times.
        max_new_tokens: of each text.
        temperature: 0: the likeliest token; else what logits are divided by.
    """

    def __init__(
        self, prompts: Sequence[str], every: int = 1000, max_new_tokens: int = 32, temperature: float = 0.0
    ) -> None:
        if isinstance(prompts, str) or every < 1:
            raise ConfigError(
                f"sample_texts with prompts {prompts!r} every {every} steps",
                rule="prompts are a list of texts, and every is at least 1",
                fix="'sample_texts {prompts: [\"Once upon a time\"], every: 500}'",
            )
        self.prompts = prompts
        self.every = every
        self.max_new_tokens = max_new_tokens
        self.settings = SamplingSettings(temperature=temperature) if temperature else SamplingSettings(greedy=True)

    def reads(self, trainer: Trainer) -> bool:
        return at_every(self.every, trainer.state.step)

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        if not self.reads(trainer) or trainer.in_haste:
            return
        texts = trainer.generate(self.prompts, self.max_new_tokens, self.settings, seed=trainer.state.step)
        for prompt, text in zip(self.prompts, texts, strict=True):
            log.info("step %d: %s|%s", trainer.state.step, prompt, text)
