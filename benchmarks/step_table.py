"""What a training step's time says: tokens per second, MFU by the formula printed beside it, and the table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from steel_megatron.model.cost import Flops


@dataclass
class Row:
    """One contender's figures. ``seconds`` per step, by round; without them ``remark`` says why."""

    step: str
    micro_batch_size: int = 0
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    remark: str = ""


@dataclass(frozen=True)
class Yardstick:
    """What turns seconds into figures: FLOPs of a token, the sequence length, the device's dense 16-bit peak."""

    flops: Flops
    seq_length: int
    peak_tflops: float | None

    def figures(self, row: Row, first: Row) -> dict[str, Any]:
        """Of a row that was timed; ``against the first`` compares tokens per second, round by round."""
        tokens = row.micro_batch_size * self.seq_length
        rate = tokens / statistics.median(row.seconds)
        tflops, causal = (rate * flops / 1e12 for flops in (self.flops.total, self.flops.total_causal))
        return {
            "tokens/s": rate,
            "against the first": ratio(row, first),
            "GFLOP/s": tflops * 1e3,
            "MFU": tflops / self.peak_tflops if self.peak_tflops else None,
            "MFU, causal": causal / self.peak_tflops if self.peak_tflops else None,
            "peak memory, GB": row.peak_bytes / 1e9,
        }

    def formula(self) -> str:
        """FLOPs per token of each module, and what MFU is."""
        flops = self.flops
        modules = {
            "attention's projections, 6 x parameters": flops.attention_projections,
            "MLP, 6 x parameters": flops.mlp,
            "head, 6 x hidden x vocabulary": flops.head,
            "attention, 12 x layers x heads x head size x sequence": flops.attention_all_keys,
        }
        lines = ["| module | GFLOP per token, forward and backward | share |", "| --- | --- | --- |"]
        lines += [f"| {name} | {part / 1e9:.4g} | {part / flops.total:.0%} |" for name, part in modules.items()]
        lines.append(f"| all; causal: half of the last | {flops.total / 1e9:.4g}; {flops.total_causal / 1e9:.4g} | |")
        peak = f"{self.peak_tflops:,.0f} TFLOP/s" if self.peak_tflops else "unknown for this device"
        return "\n".join(
            [
                *lines,
                "",
                f"MFU = FLOPs per token x tokens/s / dense 16-bit peak ({peak}); recomputation is not counted.",
            ]
        )


def ratio(row: Row, first: Row) -> float:
    """Tokens per second of ``row`` over those of ``first``: the median over rounds where both have as many."""
    per_token = [[second / timed.micro_batch_size for second in timed.seconds] for timed in (first, row)]
    if len(per_token[0]) == len(per_token[1]):
        return statistics.median(a / b for a, b in zip(*per_token, strict=True))
    return statistics.median(per_token[0]) / statistics.median(per_token[1])


def best_against(rows: Sequence[Row], ours: str, theirs: str) -> str:
    """The fastest row whose name begins with ``ours``, and how it stands to the fastest of ``theirs``, in words."""

    def best(beginning: str) -> Row | None:
        timed = [row for row in rows if row.seconds and row.step.startswith(beginning)]
        return min(timed, key=lambda row: statistics.median(row.seconds) / row.micro_batch_size, default=None)

    first, second = best(theirs), best(ours)
    if first is None or second is None:
        return f"{ours} and {theirs} were not both timed."
    return f"Fastest of each: {second.step} is {ratio(second, first):.2f} × {first.step}."


def table(rows: Sequence[Row], yardstick: Yardstick) -> str:
    """Markdown: a line for every row, whatever became of it."""
    lines = [
        "| step | micro-batch | tokens/s | against the first | GFLOP/s | MFU | MFU, causal | peak memory, GB |",
        "| --- |" + " --- |" * 7,
    ]
    timed = [row for row in rows if row.seconds]
    for row in rows:
        if not row.seconds:
            lines.append(f"| {row.step} | {row.remark} |" + " - |" * 6)
            continue
        found = yardstick.figures(row, timed[0])
        shares = [f"{found[name]:.1%}" if found[name] else "-" for name in ("MFU", "MFU, causal")]
        memory = f"{found['peak memory, GB']:.2f}" if row.peak_bytes else "-"
        lines.append(
            f"| {row.step} | {row.micro_batch_size} | {found['tokens/s']:,.0f} | {found['against the first']:.2f} × "
            f"| {found['GFLOP/s']:,.0f} | {shares[0]} | {shares[1]} | {memory} |"
        )
    return "\n".join(lines)


def as_json(rows: Sequence[Row], yardstick: Yardstick) -> list[dict[str, Any]]:
    """The rows with their figures, as plain data."""
    timed = [row for row in rows if row.seconds]
    return [asdict(row) | (yardstick.figures(row, timed[0]) if row.seconds else {}) for row in rows]
