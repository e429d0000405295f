"""The training loop and its hooks. Everything that is not training itself is a callback.

A step is only queued on the device: its loss, token count and gradient norm stay there. They are read, all steps' at
once, when somebody has to know them (:meth:`Trainer.due`); between two readings the host waits for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from steel_megatron.config import ConfigError, RunConfig
from steel_megatron.generate.in_training import generate_in_training
from steel_megatron.generate.sampling import SamplingSettings
from steel_megatron.optim.grad_norm import NonFiniteGradientError
from steel_megatron.optim.loss_scaler import LossScaleError
from steel_megatron.parallel.collectives import any_rank
from steel_megatron.parallel.processes import operations
from steel_megatron.tokenizer.base import Tokenizer
from steel_megatron.training.faults.non_finite import NonFiniteSteps, Step
from steel_megatron.training.intervals import every
from steel_megatron.training.startup.setup import Components
from steel_megatron.training.state import RunState
from steel_megatron.training.step_sums import DeviceSums, read_sums

# What is known of a step: numbers by their name in metrics.jsonl. Callbacks earlier in the list may add to it.
Metrics = dict[str, Any]

READ_SECONDS = 5.0  # at least this often, so that a signal is heeded before whoever sent it loses patience


class Callback:
    """Base of all callbacks; every hook does nothing unless overridden.

    A hook runs on every rank, in the order of the trainer's list, so that it may use collectives. Callbacks that a run
    is given come behind validation and throughput, whose numbers they see in ``rows``, and before metrics files,
    console and checkpoints: what they add to ``rows`` is written, and their state is that of the same step.
    """

    state_name = ""  # under which checkpoints keep the state of one that the run was given; the class's name when empty

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step, after a checkpoint has been loaded."""

    def on_step_begin(self, trainer: Trainer) -> None:
        """Before the batch of a step is fetched."""

    def on_step_end(self, trainer: Trainer) -> None:
        """After a step; ``trainer.state`` already counts it, the device may still be at work on it."""

    def reads(self, trainer: Trainer) -> bool:
        """Whether the numbers of the step just made must be read now; the same answer on every rank."""
        return False

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        """The steps since the last call, in order, up to the one just made: the device has finished them."""

    def on_validation_batch(self, trainer: Trainer) -> None:
        """Between two global batches of a validation."""

    def on_end(self, trainer: Trainer) -> None:
        """After the last step, also when the run stops early; not after an exception."""

    def state_dict(self) -> dict[str, Any]:
        """Plain data, as JSON has it, for a checkpoint. Every rank is asked, the main rank's is kept."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What :meth:`state_dict` gave, on every rank, before :meth:`on_start` of a run that continues a checkpoint."""

    def close(self) -> None:
        """Always called at last, also after an exception: release files and handlers."""


class Trainer:
    """Runs optimizer steps until the run's length is reached or a callback asks to stop.

    ``components`` are what that :func:`~.startup.setup.build_components` made. A callback ends the run by setting
    ``stop_reason`` where every rank does so at the same step, else ``stop_request`` (a signal, a clock), which
    reaches all ranks when the step's numbers are next read: with steps of 5 s or more at the end of the step under way.
    """

    def __init__(
        self,
        config: RunConfig,
        components: Components,
        state: RunState,
        callbacks: Sequence[Callback],
        non_finite: NonFiniteSteps | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self.config = config
        self.components = components
        self.state = state
        self.callbacks = list(callbacks)
        self.non_finite = non_finite or NonFiniteSteps()
        self.tokenizer = tokenizer  # None where the data alone says the vocabulary
        self.stop_request = ""  # this rank's own wish, not yet agreed
        self.stop_reason = ""  # agreed: the loop ends after the current step
        self.in_haste = False  # it was asked to, perhaps by one who kills soon: what can be left out is
        self.unread: list[tuple[Metrics, DeviceSums]] = []  # steps whose numbers are on the device
        self.next_reading = state.step + 1
        self.begun = 0.0  # when the first of them began
        self.step_seconds = 0.0  # of those read last, on this rank

    def fit(self) -> RunState:
        """Trains; returns the state reached. :meth:`close` is the caller's."""
        self.call("on_start")
        while self.state.step < self.components.batch_size.total_steps and not self.stop_reason:
            self.call("on_step_begin")
            self.train_step()
            self.call("on_step_end")
            if self.due():
                self.call("on_metrics", self.read())
        self.call("on_end")
        return self.state

    def close(self) -> None:
        """Closes all callbacks, also after an exception."""
        with ExitStack() as closings:
            for callback in reversed(self.callbacks):
                closings.callback(callback.close)

    def train_step(self) -> None:
        """One optimizer step over the global batch; the loss is its sum over tokens by its count of tokens."""
        state, components = self.state, self.components
        operations.at(f"step {state.step + 1}")
        if not self.unread:
            self.begun = time.perf_counter()
        waited = components.train_data.wait_seconds
        seq_length = self.config.training.seq_length
        size = components.batch_size.global_batch_at(state.consumed_samples)
        learning_rate = components.learning_rate.at(state.step, state.consumed_samples, state.consumed_tokens)
        # Keeps the summed loss near 1 whatever the batch, so that fp16 gradients neither overflow nor vanish.
        norm = 1.0 / (size * seq_length)
        batches = components.train_data.global_batch(state.consumed_samples, size)
        components.data_parallel.zero_grads()
        reader = components.train_data.reader
        scale = components.optimizer.loss_scale * norm
        own = components.engine.train(batches, components.micro_batches(size), scale, len(reader.order.names))
        components.data_parallel.finish_grads()
        totals = self.reduce(own)
        step = Step(state.step + 1, state.consumed_samples, size, components.optimizer.loss_scale)
        try:
            gradient_scale = 1.0 / (norm * totals.loss_tokens.clamp(min=1.0))
            result = components.optimizer.step(learning_rate, gradient_scale, loss=totals.loss)
        except LossScaleError as error:
            raise self.non_finite.error(self, step) from error
        if result.fault:
            self.non_finite.leave_out(self, step)
        components.data_parallel.gather_parameters()
        state.step += 1
        state.consumed_samples += size
        state.consumed_tokens += size * seq_length
        row = {
            "step": state.step,
            "loss": None,
            "grad_norm": None,
            "lr": learning_rate,
            "loss_scale": result.loss_scale,
            "skipped": result.skipped,
            "global_batch_size": size,
            "consumed_samples": state.consumed_samples,
            "consumed_tokens": state.consumed_tokens,
            "loss_tokens": None,
            "source_loss": None,
            "source_tokens": {name: n * seq_length for name, n in reader.counts(state.consumed_samples).items()},
            "data_wait": components.train_data.wait_seconds - waited,
        }
        totals.grad_norm = result.grad_norm
        self.unread.append((row, totals))

    def due(self) -> bool:
        """Whether it is time to read: to log, for a callback, at the end, or since the host is far enough ahead."""
        step = self.state.step
        if self.stop_reason or step >= min(self.next_reading, self.components.batch_size.total_steps):
            return True
        return every(self.config.logging.log_interval, step) or any(callback.reads(self) for callback in self.callbacks)

    def read(self) -> list[Metrics]:
        """The numbers of the steps since the last reading; waits for the device.

        Raises:
            NonFiniteGradientError: the gradient of one of them is not finite. No weight has changed since.
        """
        rows = [row for row, _ in self.unread]
        with operations.waiting("reading what the device has computed", "world", self.components.grid.world.ranks):
            read = read_sums([totals for _, totals in self.unread])
        self.unread.clear()
        self.step_seconds = (time.perf_counter() - self.begun) / len(rows)
        names = self.components.train_data.reader.order.names
        for row, sums in zip(rows, read, strict=True):
            row |= sums.metrics(names)
            if not self.config.training.z_loss_coeff:
                del row["z_loss"]
            try:
                self.components.optimizer.check(row["step"], sums.grad_norm)
            except NonFiniteGradientError as error:
                size = row["global_batch_size"]
                step = Step(row["step"], row["consumed_samples"] - size, size, row["loss_scale"])
                raise self.non_finite.error(self, step) from error
            row["step_seconds"] = self.step_seconds
        self.agree_to_stop()
        seconds = read[-1].seconds
        # Ranks measure different times; all read at the same step because they go by the mean.
        self.next_reading = self.state.step + max(int(READ_SECONDS / seconds) if seconds else 1, 1)
        return rows

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int = 32,
        settings: SamplingSettings | None = None,
        seed: int = 0,
    ) -> list[str]:
        """What the model, as it is now, writes behind each prompt; a text ends at the tokenizer's end of document.

        A collective call, on any layout: each new token takes a forward pass over the prompts so far.

        Args:
            settings: how a token is chosen; unset: the likeliest.

        Raises:
            ConfigError: the run has no tokenizer, or prompt and new tokens are longer than a sample.
        """
        if self.tokenizer is None:
            raise ConfigError(
                "text is to be generated in a run without a tokenizer",
                rule="a prompt is encoded with the run's tokenizer",
                fix="give --tokenizer-model",
            )
        self.components.data_parallel.wait_parameters()
        new = generate_in_training(
            self.components.chunks,
            self.components.grid,
            [self.tokenizer.encode(prompt) for prompt in prompts],
            max_new_tokens=max_new_tokens,
            settings=settings or SamplingSettings(greedy=True),
            stop_ids=() if self.tokenizer.eod_id is None else (self.tokenizer.eod_id,),
            seed=seed,
            longest=self.config.training.seq_length,
        )
        return [self.tokenizer.decode(ids) for ids in new]

    def agree_to_stop(self) -> bool:
        """Whether any rank has been asked to stop; from then on all are in haste. A collective call."""
        if not self.in_haste and any_rank(bool(self.stop_request), self.components.grid.world):
            self.in_haste = True
            self.stop_reason = self.stop_reason or self.stop_request or "another rank asked to stop"
        return self.in_haste

    def reduce(self, sums: DeviceSums) -> DeviceSums:
        """The engine's sums over all ranks, with what each says of itself; not read here."""
        sums.seconds += self.step_seconds / self.components.grid.world.size
        return sums.reduced(self.components.grid)

    def call(self, hook: str, *arguments: Any) -> None:
        """Calls one hook of every callback, in order."""
        for callback in self.callbacks:
            getattr(callback, hook)(self, *arguments)
