"""The corpora as downloaded → tokenised datasets, a phases file and a data card, by ``steel`` one step after another.

prepare_data.sh is the way to call it. Every step that is done leaves a record in WORK/steps and is not done again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import yaml
from data_card import SourceFacts, collect, write_card
from data_card_figures import draw
from data_config import DataConfig, read_config
from data_pipeline import dataset_prefix, pipeline
from data_steps import Runner, files_of
from disk_need import check_disk, token_bytes_of

from steel_megatron.config import DataError, SteelError
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokens.token_type import AUTO, TOKEN_TYPES

AT_ONCE = 4  # steps beside one another: enough that the last parts of one leave no worker idle


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpora", type=Path, required=True, help="Folder with the corpora as downloaded.")
    parser.add_argument("--work", type=Path, required=True, help="Folder for all that is made.")
    parser.add_argument("--config", type=Path, required=True, help="What becomes of which corpus: data.yaml.")
    parser.add_argument("--tokenizer", required=True, help="Tokenizer of the model.")
    parser.add_argument("--workers", type=int, required=True, help="Processes at once.")
    parser.add_argument(
        "--at-once", type=int, default=0, help="Steps beside one another (default: 4, WORKERS at most)."
    )
    parser.add_argument("--token-type", choices=TOKEN_TYPES, default=AUTO, help="As of steel tokenize.")
    parser.add_argument("--only", default="", help="Names of sources, with commas between; all if empty.")
    parser.add_argument("--keep-intermediate", action="store_true", help="Leave the text of every stage.")
    parser.add_argument("--overwrite", action="store_true", help="Replace what was made with other settings.")
    parser.add_argument("--ignore-disk", action="store_true", help="Begin although the disk seems too small.")
    parser.add_argument("--train-config", type=Path, required=True, help="The run that the mixture is planned for.")
    parser.add_argument("train_flags", nargs="*", help="Flags of `steel mix plan`, behind --.")
    try:
        prepare(parser.parse_args())
    except SteelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def prepare(args: argparse.Namespace) -> None:
    """All steps."""
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    config = read_config(args.config, args.corpora.resolve(), [name for name in args.only.split(",") if name])
    check_inputs(config)
    told = config.dedup.told() if config.dedup is not None else []
    for line in told:
        print(f"decontamination: {line}", file=sys.stderr)
    vocab_size = build_tokenizer(None, args.tokenizer).vocab_size
    keep = args.keep_intermediate
    at_once = args.at_once or min(args.workers, AT_ONCE)
    print(check_disk(config, work, keep, token_bytes_of(vocab_size, args.token_type), args.ignore_disk, at_once))
    chains = pipeline(config, work, args.tokenizer, args.workers, args.token_type)
    runner = Runner(work, keep, args.overwrite, args.workers, at_once)
    runner.provide([chain[-1] for chain in chains.values()])
    for chain in chains.values():  # a deduplication done again has made the text of all sources again
        runner.free(chain[-1])

    card = work / "card"
    card.mkdir(exist_ok=True)
    facts = collect(config, chains, runner)
    figures = draw(facts, card)
    phases = write_phases(work, facts)
    figures["The mixture over the run"] = card / "mixture.svg"
    plan = mix_plan(args, phases, figures["The mixture over the run"])
    write_card(card / "DATA_CARD.md", facts, args.config, plan, figures, told)
    print(f"\n{plan}\n\ndatasets: {work / 'data'}\nphases: {phases}\ndata card: {card / 'DATA_CARD.md'}")


def check_inputs(config: DataConfig) -> None:
    """Every source has files, before the first of them is read for hours."""
    missing = []
    for source in config.sources:
        for given in source.inputs:
            try:
                files_of([given])
            except DataError:
                missing.append(f"{source.name}: {given}")
    if missing:
        raise DataError(
            "no files at\n  " + "\n  ".join(missing),
            rule="every source of the configuration has its files below CORPORA",
            fix="correct CORPORA or the input of the source, or name the sources that you have: ONLY=a,b",
        )


def write_phases(work: Path, facts: list[SourceFacts]) -> Path:
    """One phase from the start; a source's weight is its tokens, times the weight of the configuration."""
    sources = {}
    for entry in facts:
        path = dataset_prefix(work, entry.source.name).relative_to(work)
        sources[entry.source.name] = {"path": str(path), "weight": round(entry.tokens["tokens"] * entry.source.weight)}
    phases = work / "phases.yaml"
    text = yaml.safe_dump([{"from": 0, "sources": sources}], sort_keys=False, allow_unicode=True)
    phases.write_text("# Weights: tokens of each source, times its weight in the data's configuration.\n" + text)
    return phases


def mix_plan(args: argparse.Namespace, phases: Path, figure: Path) -> str:
    """What ``steel mix plan`` prints for the run of ``--train-config``."""
    command = [sys.executable, "-m", "steel_megatron", "mix", "plan", "--config", str(args.train_config)]
    command += ["--phases", str(phases), "--tokenizer-model", args.tokenizer, "--figure", str(figure)]
    done = subprocess.run([*command, *args.train_flags], check=False, capture_output=True, text=True)
    if done.returncode:
        raise DataError(f"steel mix plan failed:\n{done.stderr}", rule="the datasets fit the run of the configuration")
    return done.stdout.partition("\n\ndrawn:")[0]


if __name__ == "__main__":
    sys.exit(main())
