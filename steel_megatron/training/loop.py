"""The training loop and its hooks. Everything that is not training itself is a callback."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from steel_megatron.config import RunConfig
from steel_megatron.parallel.collectives import all_reduce
from steel_megatron.training.setup import Parts
from steel_megatron.training.source_sums import source_losses, source_tokens
from steel_megatron.training.state import RunState

# What is known of a step: numbers by their name in metrics.jsonl. Callbacks earlier in the list may add to it.
Metrics = dict[str, Any]


class Callback:
    """Base of all callbacks; every hook does nothing unless overridden.

    A hook runs on every rank, in the order of the trainer's list, so that it may use collectives.
    """

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step, after a checkpoint has been loaded."""

    def on_step_begin(self, trainer: Trainer) -> None:
        """Before the batch of a step is fetched."""

    def on_step_end(self, trainer: Trainer, metrics: Metrics) -> None:
        """After the weights have changed; ``trainer.state`` already counts the step."""

    def on_end(self, trainer: Trainer) -> None:
        """After the last step, also when the run stops early; not after an exception."""

    def close(self) -> None:
        """Always called at last, also after an exception: release files and handlers."""


class Trainer:
    """Runs optimizer steps until the run's length is reached or a callback asks to stop.

    ``parts`` are the objects that :func:`steel_megatron.training.setup.build_parts` made. A callback ends the run by
    setting ``stop_reason`` where every rank does so at the same step, else ``stop_request`` (a signal, a clock), which
    reaches all ranks with the next step's reduction.
    """

    def __init__(self, config: RunConfig, parts: Parts, state: RunState, callbacks: Sequence[Callback]) -> None:
        self.config = config
        self.parts = parts
        self.state = state
        self.callbacks = list(callbacks)
        self.stop_request = ""  # this rank's own wish, not yet agreed
        self.stop_reason = ""  # agreed: the loop ends after the current step

    def fit(self) -> RunState:
        """Trains; returns the state reached."""
        try:
            self.call("on_start")
            while self.state.step < self.parts.batch_size.total_steps and not self.stop_reason:
                self.call("on_step_begin")
                metrics = self.train_step()
                self.call("on_step_end", metrics)
            self.call("on_end")
        finally:
            for callback in self.callbacks:
                callback.close()
        return self.state

    def train_step(self) -> Metrics:
        """One optimizer step over the global batch; the loss is its sum over tokens by its count of tokens."""
        state, parts = self.state, self.parts
        started, waited = time.perf_counter(), parts.train_data.wait_seconds
        size = parts.batch_size.global_batch_at(state.consumed_samples)
        learning_rate = parts.learning_rate.at(state.step, state.consumed_samples, state.consumed_tokens)
        # Keeps the summed loss near 1 whatever the batch, so that fp16 gradients neither overflow nor vanish.
        norm = 1.0 / (size * self.config.training.seq_length)
        batches = parts.train_data.global_batch(state.consumed_samples, size)
        parts.data_parallel.zero_grads()
        order = parts.train_data.reader.order
        scale = parts.optimizer.loss_scale * norm
        sums = parts.engine.train(batches, parts.micro_batches(size), scale, len(order.names))
        parts.data_parallel.finish_grads()
        loss_total, tokens, *by_source, stops = self.reduce(sums, bool(self.stop_request))
        result = parts.optimizer.step(learning_rate, gradient_scale=1.0 / (norm * max(tokens, 1.0)))
        parts.data_parallel.gather_parameters()
        state.step += 1
        state.consumed_samples += size
        state.consumed_tokens += size * self.config.training.seq_length
        if stops and not self.stop_reason:
            self.stop_reason = self.stop_request or "another rank asked to stop"
        return {
            "step": state.step,
            "loss": loss_total / max(tokens, 1.0),
            "grad_norm": result.grad_norm,
            "lr": learning_rate,
            "loss_scale": result.loss_scale,
            "skipped": result.skipped,
            "global_batch_size": size,
            "consumed_samples": state.consumed_samples,
            "consumed_tokens": state.consumed_tokens,
            "loss_tokens": int(tokens),
            "source_loss": source_losses(by_source, order.names),
            "source_tokens": source_tokens(order, state.consumed_samples, self.config.training.seq_length),
            "step_seconds": time.perf_counter() - started,
            "data_wait": parts.train_data.wait_seconds - waited,
        }

    def reduce(self, sums: torch.Tensor, vote: bool = False) -> list[float]:
        """The engine's sums over data parallel, each model replica counted once, and all ranks' votes to stop."""
        mesh = self.parts.mesh
        counts = mesh.tp.rank == 0 and mesh.pp.rank == mesh.pp.size - 1
        totals = torch.cat([sums * counts, sums.new_tensor([float(vote)])])
        return all_reduce(totals, mesh.world).wait().tolist()

    def call(self, hook: str, *arguments: Any) -> None:
        """Calls one hook of every callback, in order."""
        for callback in self.callbacks:
            getattr(callback, hook)(self, *arguments)
