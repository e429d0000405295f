"""Forward and backward passes of one global batch on this rank's part of the model, whatever the layout.

One path for all: the pipeline executor runs the schedule's list of actions; with one pipeline stage the list is a
forward and a backward pass per micro-batch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steel_megatron.config import ParallelConfig, TrainingConfig
from steel_megatron.model.gpt import GPT
from steel_megatron.ops.attention import Packing
from steel_megatron.ops.dropout import DropoutKey
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import param_dtype
from steel_megatron.parallel.pipeline.executor import Executor, Hidden, Output, PassSettings
from steel_megatron.parallel.pipeline.schedules import build_schedule
from steel_megatron.samples.batches import Batch
from steel_megatron.training.cuda_graph import Graph, GraphedPasses
from steel_megatron.training.step_sums import DeviceSums, Samples, StepSums


@dataclass
class GPTStage:
    """A chunk of the model as the executor calls it.

    Dropout depends on the seed and on each sample's number in the run, not on how samples are batched.
    """

    model: GPT
    seed: int
    z_loss: float  # coefficient; validation is without

    def forward(self, hidden: Tensor | None, micro_batch: Batch, settings: PassSettings) -> Output:
        """Hidden states (B, S, H); on the last stage the loss, summed over the unmasked tokens (fp32 scalar).

        With the loss comes what each sample costs, :class:`~steel_megatron.training.step_sums.Samples`.
        """
        batch = micro_batch
        inputs = batch.tokens_BS if hidden is None else hidden
        packing = None
        if batch.lengths is not None and batch.cu_seqlens is not None:
            packing = Packing(tuple(batch.lengths), batch.cu_seqlens, max(batch.lengths))
        dropout = DropoutKey(self.seed, batch.sample_ids_B) if settings.trains else None
        if self.model.head is None:
            return Output(self.model(inputs, batch.positions_BS, packing=packing, dropout=dropout))
        loss, losses_2B = self.model.loss(
            inputs,
            batch.labels_BS,
            batch.loss_mask_BS,
            batch.positions_BS,
            packing=packing,
            dropout=dropout,
            loss_gradient=settings.loss_gradient,
            z_loss=self.z_loss if settings.trains else 0.0,
        )
        return Output(loss, Samples(losses_2B, batch.loss_mask_BS.sum(1), batch.source_ids_B))


class Engine:
    """Runs global batches through this rank's chunks."""

    def __init__(
        self,
        chunks: Sequence[GPT],
        data_parallel: DataParallel,
        grid: Grid,
        training: TrainingConfig,
        parallel: ParallelConfig,
        graph: Graph | None = None,
    ) -> None:
        """``graph``: records and replays the passes of a micro-batch."""
        self.chunks = list(chunks)
        self.data_parallel = data_parallel
        self.grid = grid
        self.stages = [GPTStage(chunk, training.seed, training.z_loss_coeff) for chunk in chunks]
        self.executor = Executor(self.stages, grid)
        self.graphed: GraphedPasses | None = None
        if graph is not None:
            self.graphed = GraphedPasses(self.stages[0], graph, training.cuda_graph_warmup_steps)
        self.schedule = parallel.pipeline_schedule if grid.pp.size > 1 else "1f1b"
        if self.schedule == "1f1b" and len(chunks) > 1:
            self.schedule = "interleaved"
        length = training.seq_length // (grid.tp.size if grid.sequence_parallel else 1)
        shape = (training.micro_batch_size, length, chunks[0].config.hidden_size)
        self.hidden = Hidden(shape, param_dtype(training.precision))

    def train(self, batches: Iterator[Batch], count: int, loss_gradient: float, sources: int = 0) -> DeviceSums:
        """Forward and backward of ``count`` micro-batches; gradients are summed, their reduction is under way.

        Args:
            sources: K, number of the data's sources, to sum for each as well.

        Returns:
            The sums over this rank's batches; 0 off the last stage.
        """
        return self._run(
            self.schedule,
            batches,
            count,
            loss_gradient,
            sources,
            before_last_backward=self.data_parallel.last_micro_batch,
        )

    def evaluate(self, batches: Iterator[Batch], count: int, sources: int = 0) -> DeviceSums:
        """Forward passes only; the same sums."""
        for chunk in self.chunks:
            chunk.eval()
        try:
            return self._run("forward", batches, count, 1.0, sources)
        finally:
            for chunk in self.chunks:
                chunk.train()

    def _run(
        self, schedule: str, batches: Iterator[Batch], count: int, loss_gradient: float, sources: int, **more: Any
    ) -> DeviceSums:
        sums = StepSums.zeros(self.grid.device, sources=sources)

        plan = build_schedule(schedule, self.grid.pp.size, count, len(self.chunks))
        with ExitStack() as steps:
            for chunk in self.chunks:
                steps.enter_context(chunk.linears.step())
            eager = functools.partial(
                self.executor.run, plan, batches, self.hidden, loss_gradient=loss_gradient, **more
            )
            if self.graphed is None or not plan.trains:
                outputs = eager()
            else:
                outputs = self.graphed.run(eager, batches, count, loss_gradient)
        for output in outputs:
            sums.add(output.samples)
        if outputs:
            sums.loss += torch.stack([output.result for output in outputs]).double().sum() - sums.z_loss
        return sums
