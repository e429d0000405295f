"""What the actions of ``steel classify`` do, and what they print."""

from __future__ import annotations

import argparse
from typing import Any

from steel_megatron.cli.messages import show_messages
from steel_megatron.cli.shared_flags import tell_suspects
from steel_megatron.config import ConfigError
from steel_megatron.corpus.classify import ScoreSettings, TrainSettings, score, train_classifier
from steel_megatron.corpus.classify.model import Features


def train(args: argparse.Namespace) -> int:
    """Trains a classifier and prints how good it is on held-out texts."""
    show_messages()
    settings = TrainSettings(
        Features(args.bits, args.order, not args.no_words, args.characters),
        args.json_key,
        args.epochs,
        args.rate,
        args.held_out,
        args.max_bytes,
        int(args.weight_bits),
        args.seed,
    )
    classifier, before = train_classifier(_labels(args), args.output, settings, overwrite=args.overwrite)
    if before:
        print("nothing to do: the same classifier is there already, of the same texts and settings")
    print(f"{args.output}: tells apart {', '.join(classifier.labels)}; digest {classifier.digest}")
    for label, counts in classifier.trained["texts"].items():
        print(f"  {label}: trained on {counts['trained_on']:,} texts, {counts['held_out']:,} held out")
    for line in held_out_lines(classifier.trained["held_out"]):
        print(line)
    return 0


def _labels(args: argparse.Namespace) -> dict[str, list[str]]:
    """Label → paths; of two, scores are of the second."""
    if args.label and (args.good or args.bad):
        raise ConfigError("--label with --good or --bad", rule="texts are labelled in one way", fix="use one of them")
    if not args.label:
        if not args.good or not args.bad:
            raise ConfigError(
                "no --good" if not args.good else "no --bad",
                rule="a classifier learns from examples of both kinds",
                fix="give --good PATH… and --bad PATH…, or --label NAME PATH… for each kind",
            )
        return {"bad": args.bad, "good": args.good}
    labels: dict[str, list[str]] = {}
    for name, *paths in args.label:
        if not paths:
            raise ConfigError(f"--label {name} without a path", fix=f"--label {name} PATH…")
        labels.setdefault(name, []).extend(paths)
    return labels


def held_out_lines(held_out: dict[str, Any]) -> list[str]:
    """What is printed of the metrics on held-out texts."""
    if held_out.get("accuracy") is None:
        return ["no text was held out: nothing says how good it is"]
    lines = [f"on held-out texts: accuracy {held_out['accuracy']:.4f}, each label weighing the same"]
    if held_out.get("auc") is not None:
        lines[0] += f"; AUC {held_out['auc']:.4f}"
    for label, row in held_out.get("labels", {}).items():
        taken = ", ".join(f"{count:,} {other}" for other, count in row["taken_as"].items())
        lines.append(f"  {label}: {row['accuracy']:.4f} of {row['texts']:,}" + (f"; taken as {taken}" if taken else ""))
    return lines


def score_records(args: argparse.Namespace) -> int:
    """Scores records and prints the counts; 1 with ``--strict`` when a record could not be read, else 0."""
    show_messages()
    if not args.output:
        raise ConfigError("--output is empty", rule="it names a folder of shards, or a file", fix="name one")
    settings = ScoreSettings(args.json_key, args.field, args.min_score, args.keep_best, tuple(args.keep_label))
    done = score(
        args.model,
        args.input,
        args.output,
        settings,
        workers=args.workers,
        engine=args.engine,
        overwrite=args.overwrite,
        skip_damaged=args.skip_damaged,
    )
    if done.done_before:
        print("nothing to do: the same records are there already, from the same files and models")
    manifest = done.manifest
    print(f"{done.output}: {manifest.documents:,} of {manifest.records:,} records")
    for reason, count in manifest.rejects.items():
        print(f"  {count:,} not read: {reason}")
    tell_suspects(manifest.suspects, manifest.damaged)
    return 1 if args.strict and (manifest.suspects or manifest.damaged or manifest.rejects) else 0


def report(args: argparse.Namespace) -> int:
    """Writes the page and says how well the classifiers agree."""
    from steel_megatron.corpus.classify.report import write_report

    show_messages()
    done = write_report(args.model, args.input, args.output, key=args.json_key, most_bytes=args.max_bytes)
    print(f"{done.path}: scores of {done.texts:,} texts")
    for pair in done.content["agreement"]:
        print(
            f"  {' and '.join(pair['models'])}: correlation of ranks {pair['correlation']:.3f}, "
            f"{pair['shared_best']:.0%} of the best tenth shared"
        )
    return 0


def train_ngram(args: argparse.Namespace) -> int:
    """Trains a language model and prints what it is and the perplexity of held-out texts."""
    from steel_megatron.corpus.classify.language_model import NgramSettings, train_ngrams

    show_messages()
    settings = NgramSettings(args.order, args.least_count, args.characters, args.json_key, args.max_bytes)
    model, before = train_ngrams(args.input, args.output, settings, arpa=args.arpa, overwrite=args.overwrite)
    if before:
        print("nothing to do: the same model is there already, of the same texts and settings")
    trained = model.header["trained"]
    counts = ", ".join(f"{count:,}" for count in model.header["ngrams"])
    print(
        f"{args.output}: trained on {trained['texts']:,} texts; n-grams of 1 to {settings.order} characters: {counts}"
    )
    if held_out := trained.get("held_out"):
        low, middle, high = held_out["perplexity"]
        print(
            f"perplexity of {held_out['texts']:,} held-out texts: {middle:,.1f} in the middle, "
            f"10 % are below {low:,.1f}, 10 % above {high:,.1f}"
        )
    return 0
