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


def lines_of(name: str, found: dict[str, Any]) -> list[Line]:
    """Of a part; none where no aim is set."""
    if name == "kernels":
        return kernel_lines(found)
    preset = name.removeprefix("train_step_")
    return step_lines(preset, found) if preset != name else []


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
            lines += lines_of(name, results[name])
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
