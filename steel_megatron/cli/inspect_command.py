"""What is in a dataset (PREFIX), or in a sample or step of a run (--run)."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from steel_megatron.cli.tokenizer_flags import add_tokenizer, given_tokenizer
from steel_megatron.config import AMOUNT, COUNT, ConfigError, RunConfig, add_number
from steel_megatron.reports.compare import compare_datasets, comparison_text
from steel_megatron.reports.inspect import inspect_dataset, inspect_document, verify
from steel_megatron.reports.inspect_text import dataset_text, document_text, verification_text
from steel_megatron.reports.packing_report import packing_report, packing_text
from steel_megatron.tokenizer import Tokenizer, build_tokenizer
from steel_megatron.tokens.indexed import SUFFIXES, IndexedDataset

if TYPE_CHECKING:
    from steel_megatron.cli.run_data import RunPosition


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel inspect``."""
    parser.add_argument("prefix", nargs="?", metavar="PREFIX", help="Path of a dataset without .bin or .idx.")
    data = parser.add_argument_group("a dataset")
    what = data.add_mutually_exclusive_group()
    add_number(what, "--document", AMOUNT, "Print document N, counted from 0.")
    what.add_argument(
        "--verify",
        action="store_true",
        help="Read everything; compare with the manifest's hashes. Exit status 2 if not.",
    )
    what.add_argument("--compare", metavar="OTHER", help="Compare with the documents of another dataset.")
    what.add_argument(
        "--packing", action="store_true", help="What plain and best-fit packing make of it; makes the latter's index."
    )
    add_number(data, "--seq-length", COUNT, "With --packing.", default=2048)
    data.add_argument("--data-cache-path", metavar="DIR", help="With --packing: folder of the index.")
    run_ = parser.add_argument_group("a run")
    run_.add_argument("--run", metavar="DIR", help="Folder of the run: its --save.")
    of_run = run_.add_mutually_exclusive_group()
    add_number(of_run, "--sample", AMOUNT, "Decode sample N, counted from 0.")
    add_number(of_run, "--step", COUNT, "List the documents that step N saw, counted from 1.")
    both = parser.add_argument_group("both")
    add_tokenizer(both, "Decode with this tokenizer.")
    both.add_argument("--json", action="store_true", help="Print one JSON object.")


def run(args: argparse.Namespace) -> int:
    """Prints the report."""
    if (args.prefix is None) == (args.run is None):
        raise ConfigError("PREFIX and --run", rule="one of them says what to look at")
    if args.run is not None:
        return inspect_run(args)
    prefix = without_suffix(args.prefix)
    if args.document is not None:
        document = inspect_document(prefix, args.document, given_tokenizer(args))
        show(args, asdict(document), document_text(document))
    elif args.compare is not None:
        comparison = compare_datasets(prefix, without_suffix(args.compare))
        show(args, asdict(comparison), comparison_text(comparison))
    elif args.packing:
        packing = packing_report(IndexedDataset(prefix), args.seq_length, args.data_cache_path)
        show(args, asdict(packing), packing_text(packing))
    else:
        inspect_whole(args, prefix)
    return 0


def inspect_whole(args: argparse.Namespace, prefix: str) -> None:
    """The numbers of a dataset, verified if asked for."""
    report = inspect_dataset(prefix)
    if not args.verify:
        show(args, asdict(report), dataset_text(report))
        return
    with tqdm(total=report.bin_bytes, desc="verify", unit="B", unit_scale=True, disable=None) as bar:
        found = verify(prefix, bar.update)
    values = {**asdict(report), "verified": asdict(found)}
    show(args, values, f"{dataset_text(report)}\n\n{verification_text(found)}")


def inspect_run(args: argparse.Namespace) -> int:
    """A sample of a run, or the documents of a step."""
    from steel_megatron.cli.run_data import config_of, open_data, position_of
    from steel_megatron.reports.inspect_run import inspect_sample, sample_documents, sample_text

    if args.sample is None and args.step is None:
        raise ConfigError("--run alone", fix="give --sample N or --step N")
    folder = Path(args.run)
    config, position = config_of(folder), position_of(folder)
    samples = [args.sample] if args.step is None else samples_of_step(folder, config, position, args.step)
    datasets = open_data(config, position, from_sample=max(samples[0], 0))
    if args.step is not None:
        reports = [sample_documents(datasets, sample) for sample in samples]
        show(args, {"step": args.step, "samples": list(map(asdict, reports))}, "\n".join(map(sample_text, reports)))
    else:
        report = inspect_sample(datasets, args.sample, given_tokenizer(args) or tokenizer_of(config))
        show(args, asdict(report), sample_text(report))
    return 0


def samples_of_step(folder: Path, config: RunConfig, position: RunPosition, step: int) -> list[int]:
    """What a step has read by the run's metrics, or will read by its configuration: numbers in the order."""
    from steel_megatron.cli.run_data import batch_sizes, skips_of
    from steel_megatron.training.output.metrics_rows import read_metrics

    sizes = batch_sizes(config, position)
    if not 1 <= step <= sizes.total_steps:
        raise ConfigError(f"--step {step}", rule=f"the run's steps are 1 to {sizes.total_steps:,}")
    metrics = folder / "metrics.jsonl"
    places = range(sizes.samples_at(step - 1), sizes.samples_at(step))
    for row in read_metrics(metrics) if metrics.is_file() else []:
        if row["step"] == step:
            places = range(row["consumed_samples"] - row["global_batch_size"], row["consumed_samples"])
    return list(map(skips_of(config).number, places))


def tokenizer_of(config: RunConfig) -> Tokenizer | None:
    """The tokenizer that a run's configuration names."""
    data = config.data
    if data.tokenizer_model is None:
        return None
    return build_tokenizer(data.tokenizer_type, data.tokenizer_model)


def show(args: argparse.Namespace, values: dict[str, Any], text: str) -> None:
    """Prints one of the two."""
    print(json.dumps(values, indent=2, ensure_ascii=False) if args.json else text)


def without_suffix(path: str) -> str:
    """The prefix of a dataset that is given by one of its files."""
    return os.path.splitext(path)[0] if path.endswith(SUFFIXES) else path
