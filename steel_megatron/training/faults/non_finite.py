"""A step whose loss or gradient is not finite: where that began, which documents were in it, and the way past it.

The step is computed once more, with the weights that it was computed with: nothing has changed them since. Then the
run stops with what was found, or leaves the step out where ``--max-skipped-steps`` allows one more.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import RunConfig, SteelError
from steel_megatron.config.sample_ranges import joined, parse_ranges, written
from steel_megatron.config.texts import first_line, some
from steel_megatron.optim.grad_norm import NonFiniteGradientError
from steel_megatron.reports.inspect_run import inspect_sample
from steel_megatron.tokenizer.base import Tokenizer
from steel_megatron.training.faults.probe import Findings, probe
from steel_megatron.training.startup.setup import Components
from steel_megatron.training.state import RunState

log = logging.getLogger(__name__)

SAMPLES_SHOWN = 4
DOCUMENTS_SHOWN = 6
TEXT_SHOWN = 100  # characters
RANGES_SHOWN = 8  # in an advice; more samples at fault are left out as one range


class Run(Protocol):
    """What is needed of a trainer."""

    config: RunConfig
    components: Components
    state: RunState


@dataclass(frozen=True)
class Step:
    """A step that went wrong."""

    number: int  # counted from 1
    first: int  # its first sample of those that the run uses
    size: int
    loss_scale: float


class NonFiniteSteps:
    """The steps that a run has left out, and what it says of the one at which it stops.

    ``record`` is kept in checkpoints: a resumed run goes on counting. ``started_at``: steps done before this start.
    """

    def __init__(self, tokenizer: Tokenizer | None = None, started_at: int = 0) -> None:
        self.tokenizer = tokenizer
        self.started_at = started_at
        self.record: list[dict[str, Any]] = []

    def take_up(self, facts: dict[str, Any]) -> None:
        """What the checkpoint has on record; an earlier version's has nothing."""
        self.record = list(facts.get("skipped_steps", []))

    def leave_out(self, run: Run, step: Step) -> None:
        """Leaves a step out (a collective call): the optimizer has not made it.

        Raises:
            NonFiniteGradientError: ``--max-skipped-steps`` of the run are used up.
        """
        allowed = run.config.training.max_skipped_steps
        if len(self.record) >= allowed:
            raise self.error(run, step)
        found = self._search(run, step)
        numbers = _numbers(run.components, step)
        where = found.where(run.config.model.num_layers) or "not found again"
        self.record.append(
            {"step": step.number, "samples": written(_as_ranges(numbers)), "at_fault": found.samples, "where": where}
        )
        if run.components.grid.world.rank == 0:
            log.warning(
                "%s\n  this step is left out, the %s of at most %d (--max-skipped-steps)",
                self._told(run, step, found, numbers),
                f"{len(self.record)}.",
                allowed,
            )

    def error(self, run: Run, step: Step) -> NonFiniteGradientError:
        """What to raise for a step after which no weight has changed (a collective call)."""
        found = self._search(run, step)
        numbers = _numbers(run.components, step)
        given = self._told(run, step, found, numbers)
        if self.record:
            steps = ", ".join(str(entry["step"]) for entry in self.record)
            given += f"\n  left out before: {len(self.record)} steps ({steps})"
        return NonFiniteGradientError(
            given,
            rule="loss and gradients are finite; no weight has changed in this step or since",
            fix=self._way_out(run, step, found, numbers),
        )

    def _search(self, run: Run, step: Step) -> Findings:
        gradient = step.loss_scale / (step.size * run.config.training.seq_length)
        return probe(run.components, step.first, step.size, gradient)

    def _told(self, run: Run, step: Step, found: Findings, numbers: list[int]) -> str:
        head = f"step {step.number}: the gradient is not finite"
        span = f"{numbers[0]:,} to {numbers[-1]:,}"
        guilty = found.samples
        where = found.where(run.config.model.num_layers)
        if not where:
            head += f"; computed again, it is finite (samples {span})"
        elif len(guilty) == len(numbers) or not guilty:
            head += f"; first in {where}, " + (f"with all of samples {span}" if guilty else f"over samples {span}")
        else:
            few = some([f"{number:,}" for number in guilty], RANGES_SHOWN)
            head += f"; first in {where}, with sample{'s' * (len(guilty) > 1)} {few} of {span}"
        lines = [head]
        if found.weights:
            lines.append(f"weights that are not finite: {some(found.weights)}")
        shown = guilty or numbers
        lines += [self._documents(run, number) for number in shown[:SAMPLES_SHOWN]]
        if len(shown) > SAMPLES_SHOWN:
            lines.append(f"and {len(shown) - SAMPLES_SHOWN} more (steel inspect --run SAVE --sample N shows one)")
        return "\n  ".join(lines)

    def _documents(self, run: Run, number: int) -> str:
        """A sample's source and documents, and the beginning of its text."""
        try:
            report = inspect_sample(run.components.datasets, number, self.tokenizer)
        except (SteelError, OSError) as error:
            return f"sample {number:,}: {first_line(error)}"
        documents = list(dict.fromkeys(stretch.document for stretch in report.stretches))
        named = ", ".join(f"{document}" for document in documents[:DOCUMENTS_SHOWN])
        if len(documents) > DOCUMENTS_SHOWN:
            named += f", … {documents[-1]}"
        line = (
            f"sample {number:,}: source {report.source} ({report.path}), document{'s' * (len(documents) > 1)} {named}"
        )
        if report.text is not None:
            text = report.text[:TEXT_SHOWN] + "…" * (len(report.text) > TEXT_SHOWN)
            line += f": {text!r}"
        return line

    def _way_out(self, run: Run, step: Step, found: Findings, numbers: list[int]) -> str:
        if found.finite:
            return (
                "give the same command again, which goes on from the last checkpoint in --save; if that happens more "
                "than once on a machine, test its memory and its devices"
            )
        following = self._search(run, Step(step.number + 1, step.first + step.size, step.size, step.loss_scale))
        if following.finite:
            ranges = _as_ranges(found.samples or numbers)
            if len(ranges) > RANGES_SHOWN:
                ranges = ((ranges[0][0], ranges[-1][1]),)
            known = parse_ranges(run.config.data.skip_samples)
            words = " ".join(written(joined([*known, *ranges])))
            return (
                f"give the same command again with --skip-samples {words} (checkpoints keep it), or with "
                f"--max-skipped-steps {len(self.record) + 1} to leave out such steps whole"
            )
        return self._way_back(run, step, found)

    def _way_back(self, run: Run, step: Step, found: Findings) -> str:
        """The next samples fail as well, so that leaving out some is of no use."""
        checkpoint, optimizer = run.config.checkpoint, run.config.optimizer
        saved = CheckpointStore(Path(checkpoint.save)).steps() if checkpoint.save else []
        earlier = [number for number in saved if number < step.number]
        begun_with = found.weights and step.number == self.started_at + 1  # else the run itself has made them so
        if begun_with and not earlier:
            return "start from other weights: a checkpoint whose weights are finite (--pretrained-checkpoint or --load)"
        since = "the samples that follow fail as well"
        if run.config.training.precision == "fp16" and not begun_with:
            fixed = ", or without --loss-scale" if run.config.training.loss_scale is not None else ""
            return f"{since}, and fp16 ends at 65,504: give the same command again with --bf16{fixed}"
        lower = f"--lr {optimizer.lr / 10:g}"
        if optimizer.min_lr > optimizer.lr / 10:
            lower += f" --min-lr {optimizer.lr / 10:g}"
        rate = run.components.learning_rate.at(step.number - 1, run.state.consumed_samples, run.state.consumed_tokens)
        since += f": the run has diverged at a learning rate of {rate:g}" if not begun_with else ""
        if not earlier:
            return f"{since}; start again with {lower}"
        back = earlier[-2] if len(earlier) > 1 else earlier[-1]
        name = f"lr_{optimizer.lr / 10:g}"  # going back to one step twice takes a name
        return f"{since}; give the same command again with --ckpt-step {back} --branch {name} {lower}"


def _numbers(components: Components, step: Step) -> list[int]:
    """The numbers in the order of a step's samples."""
    skips = components.train_data.reader.skips
    return [skips.number(place) for place in range(step.first, step.first + step.size)]


def _as_ranges(numbers: list[int]) -> tuple[tuple[int, int], ...]:
    return joined((number, number + 1) for number in numbers)
