"""The run that golden/run/make.py made with an earlier version, and what its tests compare with what was then."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import torch

from steel_megatron.checkpoint.store import CheckpointStore

FILES = Path(__file__).parents[1] / "golden" / "run" / "files.tar.gz"
SAVED_AT = 4  # the step that the run is left at
GOES_ON_TO = 7
ALONE = ["--tensor-model-parallel-size", "1", "--no-sequence-parallel"]
LAYOUTS: dict[str, tuple[int, list[str]]] = {  # name → processes and flags with which the run went on then
    "tp2_dp2": (4, []),
    "pp2_dp2": (4, [*ALONE, "--pipeline-model-parallel-size", "2"]),
    "single": (1, ALONE),
}
ROW = ("step", "loss", "grad_norm", "lr", "consumed_samples", "consumed_tokens", "valid_loss", "source_loss")


def golden_run(folder: Path) -> dict[str, Any]:
    """Unpacks the files, whose paths are relative to ``folder``, and returns what was computed with them then."""
    with tarfile.open(FILES) as archive:
        archive.extractall(folder, filter="data")
    return json.loads((folder / "expected.json").read_text())


def hashes(run: str, step: int) -> dict[str, str]:
    """Name of a tensor in a checkpoint → type, shape and hash of its bytes."""
    store = CheckpointStore(Path(run))
    return {
        name: f"{tensor.dtype} {list(tensor.shape)} {digest(tensor)}"
        for name, tensor in store.read_tensors(step, sorted(store.tensors(step)))
    }


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def rows(run: str, after: int) -> list[dict[str, Any]]:
    """The lines of metrics after a step, without times."""
    found = map(json.loads, Path(run, "metrics.jsonl").read_text().splitlines())
    return [{key: row.get(key) for key in (*ROW, "source_tokens")} for row in found if row["step"] > after]


def arithmetic() -> str:
    """Hash of sums whose order is the machine's and the library's own: with another one, last bits of a run differ."""
    found = hashlib.sha256(torch.__version__.encode())
    for dtype in (torch.float32, torch.bfloat16):
        for rows, inner, columns in ((32, 16, 24), (16, 280, 32), (48, 24, 16), (4, 4, 16)):
            left = torch.linspace(-2, 3, rows * inner).sin().view(rows, inner).to(dtype)
            right = torch.linspace(-1, 5, inner * columns).cos().view(inner, columns).to(dtype)
            made = left @ right
            for value in (made, made.float().exp().sum(-1), made.softmax(-1), made.float().square().mean(-1).rsqrt()):
                found.update(digest(value).encode())
    return found.hexdigest()[:16]
