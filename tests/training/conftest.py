"""What tests of runs share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from steel_megatron.training.loop import Trainer


@pytest.fixture
def before_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, Callable[[], object]]], None]:
    """Has something done before steps of the run in this process, by their numbers."""

    original = Trainer.train_step

    def plan(actions: dict[int, Callable[[], object]]) -> None:
        def step(self: Trainer) -> None:
            actions.get(self.state.step + 1, lambda: None)()
            original(self)

        monkeypatch.setattr(Trainer, "train_step", step)

    return plan
