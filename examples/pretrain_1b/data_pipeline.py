"""The steps of the preparation: convert, clean and tokenise each source, deduplicate them all in between.

What lies between two steps is a folder of shards for each source.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from data_config import DataConfig, Source
from data_facts import clean_facts, convert_facts, dedup_facts, tokenize_facts
from data_steps import Step

from steel_megatron.tokens.token_type import AUTO

ROOT = Path(__file__).resolve().parents[2]


def pipeline(
    config: DataConfig, work: Path, tokenizer: str, workers: int, token_type: str = AUTO
) -> dict[str, list[Step]]:
    """The steps of each source in order; that of the deduplication is in all of them."""
    how = ["--workers", str(workers)]
    chains = {source.name: _text_steps(source, work, how) for source in config.sources}
    if config.dedup is not None:
        step = _dedup_step(config, chains, work, how)
        for chain in chains.values():
            chain.append(step)
    for source in config.sources:
        step = _tokenize_step(source, chains[source.name][-1], work, tokenizer, how)
        if token_type != AUTO:
            step.flags += ["--token-type", token_type]
        chains[source.name].append(step)
    return chains


def dataset_prefix(work: Path, name: str) -> Path:
    """Of a source's ``.bin`` and ``.idx``."""
    return work / "data" / f"{name}_text_document"


def _text_steps(source: Source, work: Path, how: list[str]) -> list[Step]:
    raw = work / "convert" / source.name
    flags = ["convert", "--corpus", source.corpus, "--source", source.name, "--input", *source.inputs]
    for name, value in source.options.items():
        flags += [f"--{name.replace('_', '-')}", str(value)]
    flags += ["--output", f"{raw}/"]
    convert = Step(
        f"convert {source.name}", flags, [raw], partial(convert_facts, raw), how=how, inputs=list(source.inputs)
    )
    if source.recipe is None:
        return [convert]
    recipe, cleaned = ROOT / source.recipe, work / "clean" / source.name
    flags = ["clean", "--recipe", str(recipe), "--input", str(raw), "--output", f"{cleaned}/"]
    facts = partial(clean_facts, cleaned)
    clean = Step(f"clean {source.name}", flags, [cleaned], facts, how=how, inputs=[str(recipe)], needs=[convert])
    clean.reads = clean.frees = [raw]
    return [convert, clean]


def _dedup_step(config: DataConfig, chains: dict[str, list[Step]], work: Path, how: list[str]) -> Step:
    dedup = config.dedup
    assert dedup is not None
    folder = work / "dedup"
    texts = {name: chain[-1].outputs[0] for name, chain in chains.items()}
    best_first = sorted(config.sources, key=lambda source: -source.priority)
    flags = ["dedup", "--input", *(f"{name}={path}" for name, path in texts.items())]
    flags += ["--priority", ",".join(source.name for source in best_first), "--output", str(folder)]
    if dedup.threshold is not None:
        flags += ["--threshold", str(dedup.threshold)]
    if sets := dedup.sets_there:
        flags += ["--decontaminate", *(f"{name}={path}" for name, path in sets.items())]
    return Step(
        "dedup",
        flags,
        [folder / name for name in texts],
        partial(dedup_facts, folder),
        how=[*how, "--memory", dedup.memory],
        inputs=list(sets.values()),
        needs=[chain[-1] for chain in chains.values()],
        reads=list(texts.values()),
        frees=list(texts.values()),
    )


def _tokenize_step(source: Source, before: Step, work: Path, tokenizer: str, how: list[str]) -> Step:
    text = before.outputs[0] if len(before.outputs) == 1 else work / "dedup" / source.name
    prefix = dataset_prefix(work, source.name)
    flags = ["tokenize", "--input", str(text), "--output-prefix", str(work / "data" / source.name), "--append-eod"]
    flags += ["--tokenizer-model", tokenizer]
    return Step(
        f"tokenize {source.name}",
        flags,
        [Path(f"{prefix}.bin"), Path(f"{prefix}.idx")],
        partial(tokenize_facts, prefix),
        how=how,
        inputs=[str(path) for path in [Path(tokenizer), *sorted(Path(tokenizer).rglob("*"))] if path.is_file()],
        needs=[before],
        reads=[text],
        frees=[text],
    )
