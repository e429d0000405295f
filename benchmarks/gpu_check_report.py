"""What ``benchmarks/gpu_check.sh`` found, as one Markdown file and one JSON file.

    python benchmarks/gpu_check_report.py FOLDER

FOLDER has parts.txt (a line per part: name, tab, result), machine.txt, and the parts' logs and JSON files. The status
is 1 if a part failed.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from kernels import ENOUGH

HEAD_AIM, HEAD_BYTES, MFU_AIM, PEER_AIM = 1.15, 1e9, 0.6, 1.3
TIME_TRUST, MEMORY_TRUST = 0.15, 0.05  # how far a prediction may be off, as a share of it
PREDICTIONS = Path(__file__).with_name("gpu_predictions.json")
# What a card's name holds → its name in the trace's table.
CARDS = {"A100-SXM4-80GB": "a100-80g", "A100 80GB": "a100-80g", "H100 80GB HBM3": "h100", "H200": "h200"}
Line = tuple[str, str, str, bool | None]  # what, found, aim, whether it is reached (None: not measured)


def kernel_lines(found: dict[str, Any]) -> list[Line]:
    """Memory-bound kernels against the copy; the head against its matmuls."""
    ours = [row for row in found["rows"] if "steel" in row["seconds"]]
    slow = [f"{row['operation']} {row['of copy']:.0%}" for row in ours if row["of copy"] < ENOUGH]
    failed = [f"{row['operation']} failed" for row in found["rows"] if "steel" in row["failed"]]
    behind = [row["operation"] for row in ours if (row["against the better"] or 1.0) < 1.0]
    lines: list[Line] = [
        (
            f"kernels at {ENOUGH:.0%} of the copy's bandwidth",
            "; ".join([f"{len(ours) - len(slow)} of {len(ours) + len(failed)}", *slow, *failed]),
            "all",
            not slow and not failed,
        ),
        ("kernels slower than torch or torch.compile", ", ".join(behind) or "none", "none", not behind),
    ]
    for row in found["head"]:
        if row["name"].startswith("steel") and row["seconds"]:
            ratio, extra = row["against_matmuls"], row["extra_bytes"]
            lines += [
                ("head and cross entropy, of its matmuls' time", f"{ratio:.2f} ×", f"{HEAD_AIM} ×", ratio <= HEAD_AIM),
                ("its extra memory", f"{extra / 1e9:.2f} GB", "below 1 GB", extra < HEAD_BYTES),
            ]
    return lines


def step_lines(preset: str, found: dict[str, Any]) -> list[Line]:
    """Our fastest 16-bit step against the aims; 8 bits are told apart, since the peak is that of 16."""
    timed = [row for row in found["rows"] if row["seconds"] and not row["step"].endswith(", again")]
    ours = [row for row in timed if row["step"].startswith("steel_megatron") and "fp8" not in row["step"]]
    peers = [row for row in timed if not row["step"].startswith("steel_megatron")]
    if not ours:
        return [(f"{preset}: our step", "not measured", "", None)]
    best = max(ours, key=lambda row: row["tokens/s"])
    rate, mfu = best["tokens/s"], best["MFU"]
    lines: list[Line] = [
        (
            f"{preset}: {best['step']}",
            f"{rate:,.0f} tokens/s, micro-batch {best['micro_batch_size']}, {best['peak memory, GB']:.1f} GB",
            "",
            None,
        ),
        (f"{preset}: MFU", f"{mfu:.1%}" if mfu else "-", f"{MFU_AIM:.0%}", mfu >= MFU_AIM if mfu else None),
    ]
    plain = next((row for row in peers if row["step"] == "transformers, bf16"), None)
    if plain is not None:
        ratio = rate / plain["tokens/s"]
        lines.append((f"{preset}: against transformers", f"{ratio:.2f} ×", f"{PEER_AIM} ×", ratio >= PEER_AIM))
    if peers:
        other = max(peers, key=lambda row: row["tokens/s"])
        ratio = rate / other["tokens/s"]
        lines.append((f"{preset}: against the fastest peer ({other['step']})", f"{ratio:.2f} ×", "1 ×", ratio > 1.0))
    return lines


def prediction_lines(preset: str, found: dict[str, Any], card: str | None, known: list[dict[str, Any]]) -> list[Line]:
    """Our 16-bit step's time and memory beside what the trace says for this card; none where it says nothing.

    The time is held against the expected one, with attention as published kernels run; what the roofs say is beside it.
    """
    ours = [
        row
        for row in found["rows"]
        if row["seconds"] and row["step"].startswith("steel_megatron") and "fp8" not in row["step"]
    ]
    lines: list[Line] = []
    for row in [max(ours, key=lambda row: row["tokens/s"])] if ours else []:
        batch = row["micro_batch_size"]
        for said in known:
            if (said["preset"], said["card"], said["layout"], said["micro_batch_size"]) != (preset, card, "dp1", batch):
                continue
            seconds, measured = said["expected_seconds"], said["tokens"] / row["tokens/s"]
            peak = said["peak_bytes"] / 1e9
            lines += [
                (
                    f"{preset}: step as the trace predicted, micro-batch {batch}",
                    f"{1e3 * measured:.1f} ms (at the card's roofs {1e3 * said['seconds']:.1f})",
                    f"{1e3 * seconds:.1f} ms ± {TIME_TRUST:.0%}",
                    abs(measured - seconds) <= TIME_TRUST * seconds,
                ),
                (
                    f"{preset}: peak memory as predicted",
                    f"{row['peak memory, GB']:.1f} GB",
                    f"{peak:.1f} GB ± {MEMORY_TRUST:.0%}",
                    abs(row["peak memory, GB"] - peak) <= MEMORY_TRUST * peak,
                ),
            ]
    return lines


def resume_lines(name: str, found: dict[str, Any]) -> list[Line]:
    """Whether a run repeats and continues bitwise, with what differs."""
    title = "over NCCL, two processes on one card" if name == "nccl" else "one process"
    return [
        (
            f"{run}, {title}",
            ", ".join(f"{kind} {most:.3g}" for kind, most in apart.items()) or "equal",
            "equal to the last bit",
            not apart,
        )
        for run, apart in found["differences"].items()
    ]


def card_of(machine: str) -> str | None:
    """The trace's name of this machine's card; None if it has none."""
    return next((card for name, card in CARDS.items() if name in machine), None)


def lines_of(name: str, found: dict[str, Any], machine: str) -> list[Line]:
    """Of a part; none where no aim is set."""
    if name == "kernels":
        return kernel_lines(found)
    if name in ("resume", "nccl"):
        return resume_lines(name, found)
    preset = name.removeprefix("train_step_")
    if preset == name:
        return []
    known = json.loads(PREDICTIONS.read_text(encoding="utf-8"))["rows"]
    return step_lines(preset, found) + prediction_lines(preset, found, card_of(machine), known)


def markdown(lines: list[Line]) -> str:
    """The table of what was reached."""
    rows = ["| what | found | aim | reached |", "| --- | --- | --- | --- |"]
    marks = {True: "yes", False: "no", None: "-"}
    return "\n".join([*rows, *(f"| {what} | {found} | {aim} | {marks[ok]} |" for what, found, aim, ok in lines)])


def part_lines(parts: dict[str, str], folder: Path) -> list[Line]:
    """How each part ended; of the tests also their count."""
    lines: list[Line] = []
    for name, state in parts.items():
        log = folder / f"{name}.log"
        counts = (
            re.findall(r"^\d+ (?:passed|failed|skipped|deselected|error).*$", log.read_text(), re.M)
            if log.exists()
            else []
        )
        text = "; ".join([state, *counts[-1:]])
        lines.append((name, text, "ok", None if state.startswith("left out") else state.startswith("ok")))
    return lines


def tables_of(log: Path) -> str:
    """The lines of a log that are a benchmark's own output."""
    kept = re.compile(r"^(\||`|MFU|Not run|Head and|Where|$)")
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if kept.match(line)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def main() -> int:
    folder = Path(sys.argv[1])
    pairs = [line.partition("\t") for line in (folder / "parts.txt").read_text(encoding="utf-8").splitlines()]
    parts = {name: state for name, _, state in pairs}
    machine = (folder / "machine.txt").read_text(encoding="utf-8").strip()
    lines, results, below = part_lines(parts, folder), {}, []
    for name in parts:
        file, log = folder / f"{name}.json", folder / f"{name}.log"
        if file.exists():
            results[name] = json.loads(file.read_text(encoding="utf-8"))
            lines += lines_of(name, results[name], machine)
        if log.exists() and name not in ("build", "tests"):
            below.append(f"## {name}\n\n{tables_of(log)}\n")
    text = "\n\n".join(["# GPU check", machine.replace("\n", "\\\n"), markdown(lines), *below])
    (folder / "gpu_check.md").write_text(text, encoding="utf-8")
    whole = {"machine": machine.splitlines(), "parts": parts, "reached": lines, **results}
    (folder / "gpu_check.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    print(f"\n{markdown(lines)}\n\n{folder / 'gpu_check.md'}\n{folder / 'gpu_check.json'}")
    return int(any(state.startswith("failed") for state in parts.values()))


if __name__ == "__main__":
    sys.exit(main())
