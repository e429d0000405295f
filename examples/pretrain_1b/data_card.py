"""The data card: what the datasets are made of, what was left out and why, in Markdown with two figures."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_config import DataConfig, Source
from data_steps import Runner, Step
from disk_need import size_text

FATES = ("kept", "rejected", "cleaned", "exact", "near", "contaminated", "other")


@dataclass
class SourceFacts:
    """A source over all stages; ``drops`` counts documents by (stage, reason)."""

    source: Source
    convert: dict[str, Any]
    tokens: dict[str, Any]
    drops: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def fates(self) -> dict[str, int]:
        """What became of the records, by the names of ``FATES``."""
        found = Counter({"kept": self.tokens["documents"]})
        for (stage, reason), count in self.drops.items():
            fate = {"convert": "rejected", "clean": "cleaned", "dedup": reason}.get(stage, "other")
            found[fate if fate in FATES else "other"] += count
        return {fate: found[fate] for fate in FATES}


def collect(config: DataConfig, chains: dict[str, list[Step]], runner: Runner) -> list[SourceFacts]:
    """
    Raises:
        ValueError: the records of a source are not its documents and those left out.
    """
    found = []
    for source in config.sources:
        by_stage = {step.name.split()[0]: runner.facts(step) for step in chains[source.name]}
        facts = SourceFacts(source, by_stage["convert"], by_stage["tokenize"])
        reasons = {
            "convert": by_stage["convert"]["rejects"],
            "clean": by_stage.get("clean", {}).get("drops", {}),
            "dedup": by_stage.get("dedup", {}).get(source.name, {}).get("drops", {}),
            "tokenize": by_stage["tokenize"]["rejects"],
        }
        for stage, counts in reasons.items():
            facts.drops.update({(stage, reason): count for reason, count in counts.items()})
        if sum(facts.fates.values()) != facts.convert["records"]:
            raise ValueError(f"{source.name}: {facts.convert['records']} records, but {facts.fates}")
        found.append(facts)
    return found


def write_card(
    path: Path,
    facts: list[SourceFacts],
    config_file: Path,
    plan: str,
    figures: dict[str, Path],
    told: Sequence[str] = (),
) -> None:
    """Writes the card; figures are linked by their names, which lie beside it.

    Args:
        told: sentences about the evaluation sets that were not looked for.
    """
    tokens = sum(entry.tokens["tokens"] for entry in facts)
    weighted = sum(entry.tokens["tokens"] * entry.source.weight for entry in facts)
    documents = sum(entry.tokens["documents"] for entry in facts)
    tokenizer = facts[0].tokens["tokenizer"]
    lines = [
        "# Data card",
        "",
        f"{documents:,} documents, {tokens:,} tokens from {len(facts)} sources, made by steel_megatron "
        f"{facts[0].tokens['code_version']} with `{config_file.name}` (SHA-256 `{sha256(config_file)}`). Tokenizer: "
        f"{tokenizer['type']}, {tokenizer['vocab_size']:,} ids, fingerprint `{tokenizer['fingerprint']}`.",
        "",
        *(f"![{title}]({figure.name})\n" for title, figure in figures.items()),
        "## Sources",
        "",
        "Share: of all tokens. Read: of the mixture, with the weights of the configuration.",
        "",
        *table(
            ("source", "format", "raw", "records", "documents", "tokens", "share", "read", "bytes per token"),
            [
                (
                    entry.source.name,
                    entry.source.corpus,
                    size_text(entry.convert["raw_bytes"]),
                    f"{entry.convert['records']:,}",
                    f"{entry.tokens['documents']:,}",
                    f"{entry.tokens['tokens']:,}",
                    f"{entry.tokens['tokens'] / tokens:.2%}",
                    f"{entry.tokens['tokens'] * entry.source.weight / weighted:.2%}",
                    f"{entry.tokens['text_bytes'] / max(entry.tokens['tokens'], 1):.2f}",
                )
                for entry in facts
            ],
        ),
        "",
        "## What became of the records",
        "",
        "Rejected: not usable as they are (`steel convert`). Cleaned: fell to the recipe (`steel clean`). Exact, near, "
        "contaminated: duplicates, and holders of evaluation items (`steel dedup`).",
        "",
        *(f"**{line}**\n" for line in told),
        *table(
            ("source", "records", *FATES),
            [
                (entry.source.name, f"{entry.convert['records']:,}", *(f"{entry.fates[fate]:,}" for fate in FATES))
                for entry in facts
            ],
        ),
        "",
        "## Drops by reason",
        "",
        *table(
            ("source", "stage", "reason", "records", "share"),
            [
                (entry.source.name, stage, reason, f"{count:,}", f"{count / entry.convert['records']:.2%}")
                for entry in facts
                for (stage, reason), count in entry.drops.most_common()
            ],
        ),
        "",
        "## Mixture",
        "",
        f"```\n{plan.strip()}\n```",
        "",
        "## Licences",
        "",
        "As their publishers stated them when the configuration was written; check before you use or publish.",
        "",
        *table(("source", "licence"), [(entry.source.name, entry.source.licence) for entry in facts]),
        "",
        "## Hashes",
        "",
        *table(
            ("file", "bytes", "SHA-256"),
            [
                (record["path"], f"{record['bytes']:,}", f"`{record['sha256']}`")
                for entry in facts
                for record in entry.tokens["outputs"].values()
            ],
        ),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table; a bar in a cell is escaped."""
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
