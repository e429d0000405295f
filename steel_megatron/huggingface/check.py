"""Whether an exported folder computes in ``transformers`` what the checkpoint computes here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from steel_megatron.config import CheckpointError
from steel_megatron.huggingface.checkpoints import RunCheckpoint
from steel_megatron.huggingface.folder import StateFolder
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.grid import Grid

TOLERANCE = 1e-4


def check_export(load: Path, step: int, folder: Path, tolerance: float = TOLERANCE) -> float:
    """Compares the logits of random tokens, computed in fp32 on the CPU by both, and returns their largest difference.

    Our weights come from the checkpoint, rounded to the type that was written. The tolerance is absolute up to logits
    of 1 and relative to the largest beyond.

    Raises:
        CheckpointError: they differ, or ``transformers`` finds names missing or left over.
    """
    theirs = _load_with_transformers(folder)
    stored = StateFolder(folder).dtype
    checkpoint = RunCheckpoint.open(load, step)
    ours = GPT(checkpoint.model, Grid.single(), dtype=torch.float32).eval()
    checkpoint.load_into(ours, rounded_to=stored, masters=stored == torch.float32)
    vocab_size = checkpoint.model.vocab_size
    assert vocab_size is not None
    length = min(64, checkpoint.model.max_position_embeddings)
    tokens_BS = torch.randint(0, vocab_size, (2, length), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = theirs(tokens_BS).logits, ours(tokens_BS)
    difference = (expected - found).abs().max().item()
    if not difference <= tolerance * max(1.0, expected.abs().max().item()):
        raise CheckpointError(
            f"logits of {folder} in transformers differ from ours by {difference:.3g}",
            rule=f"in fp32 they agree within {tolerance:g}, relative to the largest where that is above 1",
            fix="report this as a bug, with the config.json of the folder",
        )
    return difference


def _load_with_transformers(folder: Path) -> Any:
    import transformers

    argument = "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype"
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # told below, in one form with names
        **{argument: torch.float32},
    )
    model, info = loaded
    wrong = {kind: sorted(map(str, info[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(wrong.values()):
        raise CheckpointError(
            f"transformers loads {folder} with "
            + "; ".join(f"{kind} {', '.join(names[:4])}" for kind, names in wrong.items() if names),
            rule="every name is found in its place",
        )
    return model.eval()
