"""What the stages wrote about themselves, in the few numbers that the data card tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from steel_megatron.jobs.manifest import JobManifest


def convert_facts(output: Path) -> dict[str, Any]:
    """From ``steel convert``."""
    manifest = JobManifest.read(output)
    return {
        "files": len({file.name for file in manifest.inputs} - set(manifest.passed_over)),
        "raw_bytes": sum(file.bytes for file in manifest.inputs),
        "records": manifest.records,
        "documents": manifest.documents,
        "text_bytes": manifest.text_bytes,
        "rejects": manifest.rejects,
        "sha256": manifest.outputs["documents"].sha256,
    }


def clean_facts(output: Path) -> dict[str, Any]:
    """From ``steel clean``; a drop's reason is ``operation: reason``."""
    manifest = JobManifest.read(output)
    return {"documents": manifest.documents, "drops": manifest.rejects}


def dedup_facts(folder: Path) -> dict[str, Any]:
    """From ``steel dedup``: counts by source."""
    report = json.loads((folder / "report.json").read_bytes())
    reasons = ("exact", "near", "contaminated", "invalid")
    return {
        name: {"documents": counts["kept"], "drops": {reason: counts[reason] for reason in reasons if counts[reason]}}
        for name, counts in report["sources"].items()
    }


def tokenize_facts(prefix: Path) -> dict[str, Any]:
    """From ``steel tokenize``."""
    manifest = json.loads(Path(f"{prefix}.manifest.json").read_bytes())
    return {
        "documents": manifest["documents"],
        "tokens": manifest["tokens"],
        "text_bytes": manifest["text_bytes"],
        "rejects": manifest["rejects"],
        "tokenizer": manifest["tokenizer"],
        "outputs": manifest["outputs"],
        "code_version": manifest["code_version"],
    }
