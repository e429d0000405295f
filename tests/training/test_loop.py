"""The loop and its hooks: their order, when numbers are read, how a run ends, and what it never waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.built_run import built
from helpers.processes import run_processes
from steel_megatron.config import ConfigError
from steel_megatron.parallel.grid import Grid
from steel_megatron.training import loop
from steel_megatron.training.loop import Callback, Metrics, Trainer
from steel_megatron.training.startup.setup import Components
from steel_megatron.training.state import RunState

HOOKS = ("on_start", "on_step_begin", "on_step_end", "on_metrics", "on_end", "close")


class Notes(Callback):
    """Writes down which hook was called at which step, and does what a test wants there."""

    def __init__(self, **actions: Callable[[Trainer], None]) -> None:
        self.calls: list[tuple[str, int]] = []
        self.rows: list[list[Metrics]] = []
        self.actions = actions
        self.trainer: Trainer | None = None
        for hook in HOOKS[:3] + HOOKS[4:5]:
            setattr(self, hook, lambda trainer, hook=hook: self.note(hook, trainer))

    def note(self, hook: str, trainer: Trainer) -> None:
        self.trainer = trainer
        self.calls.append((hook, trainer.state.step))
        self.actions.get(hook, lambda _: None)(trainer)

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        self.rows.append([dict(row) for row in rows])
        self.note("on_metrics", trainer)

    def close(self) -> None:
        self.calls.append(("close", -1))
        if "close" in self.actions and self.trainer is not None:
            self.actions["close"](self.trainer)

    def steps_of(self, hook: str) -> list[int]:
        return [step for name, step in self.calls if name == hook]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Trainer]]:
    """Makes trainers of tiny runs, in which no reading is due by time.

    But for the first two: until then nobody knows how long a step takes.
    """
    monkeypatch.setattr(loop, "READ_SECONDS", 1e9)
    contexts = []

    def made(*callbacks: Callback, state: RunState | None = None, **knobs: Any) -> Trainer:
        contexts.append(built(tmp_path, **{"train_iters": 4, "lr_warmup_iters": 0, **knobs}))
        config, components = contexts[-1].__enter__()
        return Trainer(config, components, state or RunState(), callbacks)

    yield made
    for context in contexts:
        context.__exit__(None, None, None)


def test_hooks_come_in_their_order(run) -> None:
    notes = Notes()
    trainer = run(notes, log_interval=4, train_iters=5)
    assert trainer.fit() == RunState(5, 40, 640)
    trainer.close()
    assert notes.calls == [
        ("on_start", 0),
        *[("on_step_begin", 0), ("on_step_end", 1), ("on_metrics", 1)],
        *[("on_step_begin", 1), ("on_step_end", 2), ("on_metrics", 2)],
        *[("on_step_begin", 2), ("on_step_end", 3)],
        *[("on_step_begin", 3), ("on_step_end", 4), ("on_metrics", 4)],
        *[("on_step_begin", 4), ("on_step_end", 5), ("on_metrics", 5)],
        *[("on_end", 5), ("close", -1)],
    ]
    assert [[row["step"] for row in rows] for rows in notes.rows] == [[1], [2], [3, 4], [5]]


def test_a_row_tells_of_its_own_step(run) -> None:
    """However many are read at once; the rate and the counts are those that the step was made with."""
    each, together = Notes(), Notes()
    run(each, log_interval=1, train_iters=6).fit()
    run(together, log_interval=0, train_iters=6).fit()
    assert [len(rows) for rows in together.rows] == [1, 1, 4]
    rows, alone = together.rows[-1], [row for (row,) in each.rows[2:]]
    times = {"step_seconds", "data_wait"}
    assert [{k: v for k, v in row.items() if k not in times} for row in rows] == [
        {k: v for k, v in row.items() if k not in times} for row in alone
    ]
    assert [row["consumed_samples"] for row in rows] == [24, 32, 40, 48]
    assert [row["source_tokens"] for row in rows] == [{"data": 128 * step} for step in (3, 4, 5, 6)]
    assert all(row["loss_tokens"] == 128 and "z_loss" not in row for row in rows)
    assert len({row["step_seconds"] for row in rows}) == 1


def test_callbacks_run_in_the_order_of_the_list_and_see_what_those_before_added(run) -> None:
    class Adds(Callback):
        def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
            rows[-1]["added"] = rows[-1].get("added", 0) + 1

    notes = [Notes(), Notes()]
    run(notes[0], Adds(), Adds(), notes[1], log_interval=1, train_iters=1).fit()
    assert "added" not in notes[0].rows[0][0]
    assert notes[1].rows[0][0]["added"] == 2


def test_numbers_are_read_when_a_callback_needs_them(run) -> None:
    class Wants(Callback):
        def reads(self, trainer: Trainer) -> bool:
            return trainer.state.step == 4

    notes = Notes()
    run(notes, Wants(), log_interval=0, train_iters=6).fit()
    assert notes.steps_of("on_metrics") == [1, 2, 4, 6]


def test_slow_steps_are_read_one_by_one(run, monkeypatch) -> None:
    """So that a signal is heeded in time; how slow they are is known once a step has been read."""
    monkeypatch.setattr(loop, "READ_SECONDS", 0.0)
    notes = Notes()
    run(notes, log_interval=0).fit()
    assert notes.steps_of("on_metrics") == [1, 2, 3, 4]


@pytest.mark.parametrize("hook", ["on_step_begin", "on_step_end", "on_metrics"])
def test_a_reason_ends_the_run_after_the_step_that_it_came_in(run, hook: str) -> None:
    def stop(trainer: Trainer) -> None:
        if trainer.state.step >= 2:
            trainer.stop_reason = "enough"

    notes = Notes(**{hook: stop})
    trainer = run(notes, log_interval=1)
    assert trainer.fit().step == (3 if hook == "on_step_begin" else 2)
    assert notes.steps_of("on_end") == [trainer.state.step]
    assert notes.rows[-1][-1]["step"] == trainer.state.step
    assert not trainer.in_haste  # nobody waits: what is due at the end is done


def test_a_wish_is_agreed_on_when_numbers_are_read(run) -> None:
    def ask(trainer: Trainer) -> None:
        if trainer.state.step >= 2:
            trainer.stop_request = trainer.stop_request or "got SIGTERM"

    notes = Notes(on_step_begin=ask)
    trainer = run(notes, log_interval=4, train_iters=9)
    trainer.fit()
    assert trainer.state.step == 4
    assert (trainer.stop_reason, trainer.in_haste) == ("got SIGTERM", True)


def wish_of_one(folder: Path) -> tuple[int, str, bool]:
    """Steps made, the reason and the haste on a rank, of which the second was asked to stop in the third step."""
    loop.READ_SECONDS = 1e9  # in this process

    def ask(trainer: Trainer) -> None:
        if trainer.components.grid.world.rank == 1 and trainer.state.step == 2:
            trainer.stop_request = "got SIGUSR1"

    with built(folder, Grid.create(load({}).parallel), train_iters=9, log_interval=4) as (config, components):
        trainer = Trainer(config, components, RunState(), [Notes(on_step_begin=ask)])
        trainer.fit()
        return trainer.state.step, trainer.stop_reason, trainer.in_haste


def load(knobs: dict[str, Any]) -> Any:
    from steel_megatron.config import load_run_config

    return load_run_config(None, knobs)


def test_all_ranks_stop_at_one_step_when_one_is_asked(tmp_path: Path) -> None:
    assert run_processes(wish_of_one, 2, tmp_path) == [
        (4, "another rank asked to stop", True),
        (4, "got SIGUSR1", True),
    ]


def test_a_run_that_has_reached_its_length_makes_no_step(run) -> None:
    notes = Notes()
    trainer = run(notes, state=RunState(4, 32, 512))
    trainer.fit()
    assert [hook for hook, _ in notes.calls] == ["on_start", "on_end"]


@pytest.mark.parametrize("hook", HOOKS[:5])
def test_after_an_exception_nothing_is_called_but_close(run, hook: str) -> None:
    def fail(trainer: Trainer) -> None:
        raise LookupError(hook)

    notes, behind = Notes(**{hook: fail}), Notes()
    trainer = run(notes, behind, log_interval=1)
    with pytest.raises(LookupError, match=hook):
        trainer.fit()
    assert behind.steps_of(hook) == []
    assert not behind.steps_of("on_end")
    trainer.close()
    assert notes.calls[-1] == behind.calls[-1] == ("close", -1)


def test_all_are_closed_in_their_order_whatever_one_raises(run) -> None:
    closed: list[str] = []

    class Closes(Callback):
        def __init__(self, name: str, error: Exception | None = None) -> None:
            self.name, self.error = name, error

        def close(self) -> None:
            closed.append(self.name)
            if self.error is not None:
                raise self.error

    trainer = run(Closes("a"), Closes("b", OSError("b is gone")), Closes("c"))
    with pytest.raises(OSError, match="b is gone"):
        trainer.close()
    assert closed == ["a", "b", "c"]


def weights(components: Components) -> list[torch.Tensor]:
    components.data_parallel.wait_parameters()
    return [parameter.detach().clone() for chunk in components.chunks for parameter in chunk.parameters()]


def test_a_step_is_counted_when_it_is_made_and_begins_where_the_state_says(run) -> None:
    """The same steps in one go, or from a state in between: the loop itself keeps nothing else."""
    whole = run(log_interval=1, lr=0.01)
    whole.fit()
    halves = run(log_interval=1, lr=0.01)
    for _ in range(2):
        halves.train_step()
    assert halves.state == RunState(2, 16, 256)
    assert len(halves.unread) == 2
    rest = Trainer(halves.config, halves.components, RunState(2, 16, 256), [])
    rest.fit()
    for one, other in zip(weights(whole.components), weights(rest.components), strict=True):
        assert torch.equal(one, other)


def test_the_batch_grows_within_a_run(run) -> None:
    notes = Notes()
    knobs = {"rampup_batch_size": [4, 4, 12], "train_iters": None, "train_samples": 36}
    run(notes, log_interval=0, **knobs).fit()
    rows = [row for read in notes.rows for row in read]
    assert [row["global_batch_size"] for row in rows] == [4, 4, 4, 8, 8, 8]
    assert [row["loss_tokens"] for row in rows] == [64, 64, 64, 128, 128, 128]


def test_text_takes_a_tokenizer(run) -> None:
    with pytest.raises(ConfigError, match="without a tokenizer") as caught:
        run().generate(["中文"])
    assert caught.value.fix == "give --tokenizer-model"
